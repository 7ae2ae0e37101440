/// One safetensors file, mapped, with its header checked.
///
/// The layout: 8 bytes little-endian header length, a JSON object, then the data. The header gives
/// every tensor `{"dtype", "shape", "data_offsets": [begin, end]}`, offsets counted from the start
/// of the data, which they must cover exactly: no gap, no overlap, nothing left over.
struct SafetensorsFile {
  /// A tensor of the file.
  struct Entry {
    let name: String
    let dataType: String
    let shape: [Int]
    /// Bytes of the mapped file.
    let range: Range<Int>
  }

  /// Headers of real checkpoints have a few megabytes at most; the format's own limit.
  static let headerLimit = 100_000_000

  /// The file, as the user named it.
  let path: String
  let mapped: MappedFile
  /// In file order.
  let entries: [Entry]
  /// `__metadata__`.
  let metadata: [String: String]

  /// Maps `path` and checks its header against its size. No tensor is read.
  init(path: String) throws(CheckpointError) {
    let mapped = try MappedFile(path: path)
    let (header, dataStart) = try mapped.withBytes { (bytes) throws(CheckpointError) in
      try Self.header(of: bytes, path: path)
    }
    var entries: [Entry] = []
    var metadata: [String: String] = [:]
    for (name, node) in try header.members() {
      if name == "__metadata__" {
        for (key, value) in try node.members() { metadata[key] = try value.string() }
      } else {
        entries.append(
          try Self.entry(name: name, node, dataStart: dataStart, fileSize: mapped.count))
      }
    }
    entries.sort {
      ($0.range.lowerBound, $0.range.upperBound) < ($1.range.lowerBound, $1.range.upperBound)
    }
    try Self.checkCover(entries, path: path, dataStart: dataStart, fileSize: mapped.count)
    self.path = path
    self.mapped = mapped
    self.entries = entries
    self.metadata = metadata
  }

  /// The parsed header and where the data starts.
  private static func header(
    of bytes: UnsafeRawBufferPointer, path: String
  ) throws(CheckpointError) -> (JSONNode, dataStart: Int) {
    guard bytes.count > 0 else {
      throw CheckpointError(
        "\(path.quoted) is empty. Get the file again; the download was interrupted.")
    }
    if let foreign = foreignFormat(bytes) {
      throw CheckpointError(
        "\(path.quoted) is \(foreign), not safetensors. Convert the model to safetensors first.")
    }
    guard bytes.count >= 8 else {
      throw CheckpointError(
        "\(path.quoted) has \(bytes.count) bytes, less than the 8 of a safetensors header length. "
          + "Get the file again.")
    }
    let length = UInt64(littleEndian: bytes.loadUnaligned(as: UInt64.self))
    guard length <= UInt64(headerLimit) else {
      throw CheckpointError(
        "\(path.quoted) states a header of \(length) bytes; at most \(headerLimit) are allowed. "
          + "It is not a safetensors file, or its start is damaged.")
    }
    let dataStart = 8 + Int(length)
    guard dataStart <= bytes.count else {
      throw CheckpointError(
        "\(path.quoted) is cut short: its header needs \(dataStart) bytes, the file has "
          + "\(bytes.count). Get the file again.")
    }
    let header = UnsafeRawBufferPointer(rebasing: bytes[8..<dataStart])
    guard header.first == UInt8(ascii: "{") else {
      throw CheckpointError(
        "\(path.quoted) has no safetensors header: its first byte must be '{'. "
          + "It is not a safetensors file, or its start is damaged.")
    }
    do {
      return (JSONNode(file: path, value: try JSONParser.parse(header)), dataStart)
    } catch {
      throw CheckpointError(
        "\(path.quoted) has a broken header: \(error.reason) at byte \(8 + error.offset). "
          + "Get the file again from where it came.")
    }
  }

  /// What a file is that people mistake for safetensors.
  private static func foreignFormat(_ bytes: UnsafeRawBufferPointer) -> String? {
    let formats: [(magic: [UInt8], name: String)] = [
      ([0x50, 0x4B, 0x03, 0x04], "a zip archive (PyTorch's own format)"),
      ([0x47, 0x47, 0x55, 0x46], "a GGUF file"),
      ([0x89, 0x48, 0x44, 0x46], "an HDF5 file"),
      (Array("version https://git-lfs".utf8), "a Git LFS pointer: the weights were not downloaded"),
    ]
    return formats.first { bytes.starts(with: $0.magic) }?.name
  }

  private static func entry(
    name: String, _ node: JSONNode, dataStart: Int, fileSize: Int
  ) throws(CheckpointError) -> Entry {
    func failure(_ what: String) -> CheckpointError {
      CheckpointError("\(node.file.quoted): tensor \(name.quoted) \(what)")
    }
    guard !name.isEmpty else {
      throw CheckpointError(
        "\(node.file.quoted): a tensor has an empty name. Write the checkpoint again with names.")
    }
    let dataType = try node.required("dtype").string()
    var shape: [Int] = []
    for size in try node.required("shape").elements() {
      shape.append(try size.integer(in: 0...Int.max))
    }
    let offsets = try node.required("data_offsets").elements()
    guard offsets.count == 2 else {
      throw failure("has \(offsets.count) data_offsets; there must be two, [begin, end].")
    }
    let begin = try offsets[0].integer(in: 0...Int.max)
    let end = try offsets[1].integer(in: 0...Int.max)
    guard begin <= end else {
      throw failure("ends before it begins: data_offsets are [\(begin), \(end)].")
    }
    guard end <= fileSize - dataStart else {
      throw failure(
        "ends at byte \(end) of the data, which has \(fileSize - dataStart). "
          + "The file is cut short: get it again.")
    }
    if let bits = DataType.bits(dataType) {
      guard let expected = DataType.byteCount(bits: bits, shape: shape) else {
        throw failure("has the impossible shape \(shape) for \(dataType.quoted).")
      }
      guard expected == end - begin else {
        throw failure(
          "takes \(end - begin) bytes, but its dtype \(dataType) and shape \(shape) "
            + "need \(expected). The header is damaged: get the file again.")
      }
    }
    return Entry(
      name: name, dataType: dataType, shape: shape, range: dataStart + begin..<dataStart + end)
  }

  /// `entries` in order of their place must follow each other exactly to the end of the file.
  private static func checkCover(
    _ entries: [Entry], path: String, dataStart: Int, fileSize: Int
  ) throws(CheckpointError) {
    var covered = dataStart
    var previous = ""
    for entry in entries {
      let begin = entry.range.lowerBound
      guard begin >= covered else {
        throw CheckpointError(
          "\(path.quoted): tensors \(previous.quoted) and \(entry.name.quoted) overlap. "
            + "The header is damaged: get the file again.")
      }
      guard begin == covered else {
        throw CheckpointError(
          "\(path.quoted): a hole of \(begin - covered) bytes before tensor \(entry.name.quoted); "
            + "safetensors data has no holes. Write the checkpoint again.")
      }
      covered = entry.range.upperBound
      previous = entry.name
    }
    guard covered == fileSize else {
      throw CheckpointError(
        "\(path.quoted): \(fileSize - covered) trailing bytes belong to no tensor. "
          + "The file is damaged: get it again.")
    }
  }
}
