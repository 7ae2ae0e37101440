public import Foundation

/// Builds safetensors files byte by byte, good ones and broken ones.
///
/// It does not use the writer under test, so that reader and writer cannot agree on a mistake.
public enum TinyCheckpoint {
  /// A tensor to be written as it is described, whether the description is right or wrong.
  public struct Tensor: Sendable {
    /// The name in the header.
    public var name: String
    /// The element type in the header.
    public var dataType: String
    /// The shape in the header.
    public var shape: [Int]
    /// The data.
    public var bytes: [UInt8]

    /// Describes a tensor of raw bytes.
    public init(_ name: String, _ dataType: String, _ shape: [Int], bytes: [UInt8]) {
      self.name = name
      self.dataType = dataType
      self.shape = shape
      self.bytes = bytes
    }

    /// An F32 tensor.
    public init(_ name: String, _ shape: [Int], floats: [Float]) {
      self.init(name, "F32", shape, bytes: littleEndianBytes(floats.map(\.bitPattern)))
    }

    /// A 16-bit tensor of bit patterns: BF16 or F16.
    public init(_ name: String, _ dataType: String, _ shape: [Int], bits: [UInt16]) {
      self.init(name, dataType, shape, bytes: littleEndianBytes(bits))
    }
  }

  /// Integers as little-endian bytes.
  public static func littleEndianBytes<Integer: FixedWidthInteger>(_ values: [Integer]) -> [UInt8] {
    values.flatMap { value in withUnsafeBytes(of: value.littleEndian) { Array($0) } }
  }

  /// A file with any header text and any data; `headerLength` may lie.
  public static func file(
    header: String, data: [UInt8] = [], headerLength: UInt64? = nil
  ) -> [UInt8] {
    let text = Array(header.utf8)
    return littleEndianBytes([headerLength ?? UInt64(text.count)]) + text + data
  }

  /// A file of tensors one after the other in the given order.
  public static func file(_ tensors: [Tensor], metadata: [String: String] = [:]) -> [UInt8] {
    var members: [String] = []
    if !metadata.isEmpty {
      let pairs = metadata.sorted { $0.key < $1.key }.map { "\"\($0.key)\":\"\($0.value)\"" }
      members.append("\"__metadata__\":{\(pairs.joined(separator: ","))}")
    }
    var data: [UInt8] = []
    for tensor in tensors {
      let end = data.count + tensor.bytes.count
      members.append(
        "\"\(tensor.name)\":{\"dtype\":\"\(tensor.dataType)\",\"shape\":\(tensor.shape),"
          + "\"data_offsets\":[\(data.count),\(end)]}")
      data += tensor.bytes
    }
    return file(header: "{\(members.joined(separator: ","))}", data: data)
  }

  /// Writes `model.safetensors` and, where given, `config.json` and `tokenizer.json` into `folder`,
  /// which is created.
  public static func write(
    folder: URL, tensors: [Tensor], metadata: [String: String] = [:], configuration: String? = nil,
    tokenizer: String? = nil
  ) throws {
    var files = ["model.safetensors": file(tensors, metadata: metadata)]
    files["config.json"] = configuration.map { Array($0.utf8) }
    files["tokenizer.json"] = tokenizer.map { Array($0.utf8) }
    try write(folder: folder, files: files)
  }

  /// Writes shards of `tensors` (by turns) and their index into `folder`, which is created.
  public static func write(folder: URL, tensors: [Tensor], shards: Int) throws {
    var files: [String: [UInt8]] = [:]
    var map: [String] = []
    for shard in 0..<shards {
      let name = "model-\(shard + 1)-of-\(shards).safetensors"
      let part = tensors.enumerated().filter { $0.offset % shards == shard }.map(\.element)
      files[name] = file(part)
      map += part.map { "\"\($0.name)\":\"\(name)\"" }
    }
    let index = "{\"metadata\":{},\"weight_map\":{\(map.joined(separator: ","))}}"
    files["model.safetensors.index.json"] = Array(index.utf8)
    try write(folder: folder, files: files)
  }

  /// Writes files by name into `folder`, which is created; names may contain folders.
  public static func write(folder: URL, files: [String: [UInt8]]) throws {
    for (name, bytes) in files {
      let target = folder.appending(path: name)
      try FileManager.default.createDirectory(
        at: target.deletingLastPathComponent(), withIntermediateDirectories: true)
      try Data(bytes).write(to: target)
    }
  }
}
