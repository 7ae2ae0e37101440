public import BitplanCore
import Crypto
import Synchronization

/// A safetensors checkpoint: one file, an index file with its shards, or a folder that holds either.
///
/// Opening checks every header against its file; weights are read when they are asked for.
public final class Checkpoint: Sendable {
  /// What the header says about a tensor.
  public struct Tensor: Hashable, Sendable {
    /// The name in the file.
    public let name: String
    /// The element type as the file names it, such as `BF16`.
    public let dataType: String
    /// Elements along each dimension, outermost first; empty for a scalar.
    public let shape: [Int]
  }

  private struct Place: Sendable {
    let index: Int
    let file: MappedFile
    let filePath: String
    let range: Range<Int>
  }

  /// The folder that holds the checkpoint, where `config.json` and `tokenizer.json` are found.
  public let folder: String
  /// For people: the folder's name, or the file's where it has a name of its own.
  public let name: String
  /// All tensors, sorted by the bytes of their names.
  public let tensors: [Tensor]
  /// `__metadata__` of the (first) file.
  public let metadata: [String: String]
  /// Bytes of all weight files, headers included.
  public let fileBytes: Int

  private let file: String
  private let places: [ExactString: Place]
  private let digest = Mutex<String?>(nil)

  /// Memory-maps and validates every header. No weights are read.
  ///
  /// - Parameter path: a `.safetensors` file, a `.safetensors.index.json` file, or a folder that
  ///   holds `model.safetensors` or `model.safetensors.index.json`.
  public init(path: String) throws(CheckpointError) {
    let location = try CheckpointLocation(path: path)
    let files =
      location.isIndex
      ? try Self.openShards(index: location.file, folder: location.folder)
      : [try SafetensorsFile(path: location.file)]
    var found: [(entry: SafetensorsFile.Entry, file: SafetensorsFile)] = []
    for file in files { found += file.entries.map { ($0, file) } }
    found.sort { ExactString($0.entry.name) < ExactString($1.entry.name) }

    var places: [ExactString: Place] = [:]
    for (index, item) in found.enumerated() {
      places[ExactString(item.entry.name)] = Place(
        index: index, file: item.file.mapped, filePath: item.file.path, range: item.entry.range)
    }
    folder = location.folder
    name = location.name
    file = location.file
    tensors = found.map {
      Tensor(name: $0.entry.name, dataType: $0.entry.dataType, shape: $0.entry.shape)
    }
    metadata = files.first?.metadata ?? [:]
    fileBytes = files.reduce(0) { $0 + $1.mapped.count }
    self.places = places
  }

  /// Opens every shard; each tensor must be where the index says, and only there.
  private static func openShards(
    index path: String, folder: String
  ) throws(CheckpointError) -> [SafetensorsFile] {
    let index = try ShardIndex(path: path)
    var files: [SafetensorsFile] = []
    var shardOfFound: [ExactString: String] = [:]
    for shard in index.shards {
      let shardPath = folder.hasSuffix("/") ? folder + shard : "\(folder)/\(shard)"
      guard FileKind(shardPath) != .missing else {
        throw CheckpointError(
          "The shard \(shard.quoted) that \(path.quoted) names is missing. "
            + "Get the rest of the checkpoint.")
      }
      let file = try SafetensorsFile(path: shardPath)
      for entry in file.entries {
        if let other = shardOfFound.updateValue(shard, forKey: ExactString(entry.name)) {
          throw CheckpointError(
            "Tensor \(entry.name.quoted) is in two shards, \(other.quoted) and \(shard.quoted). "
              + "Get the checkpoint again; its files are from different versions.")
        }
        guard let expected = index.shardOfTensor[ExactString(entry.name)] else {
          throw CheckpointError(
            "Shard \(shard.quoted) holds tensor \(entry.name.quoted), which \(path.quoted) does "
              + "not list. Get the checkpoint again; its files are from different versions.")
        }
        guard ExactString(expected) == ExactString(shard) else {
          throw CheckpointError(
            "Tensor \(entry.name.quoted) is in shard \(shard.quoted), but \(path.quoted) says "
              + "\(expected.quoted). Get the checkpoint again; its files are from different versions."
          )
        }
      }
      files.append(file)
    }
    let missing = index.shardOfTensor.filter { shardOfFound[$0.key] == nil }
    if let first = missing.min(by: { $0.key < $1.key }) {
      throw CheckpointError(
        "Shard \(first.value.quoted) lacks tensor \(first.key.string.quoted), which "
          + "\(path.quoted) lists. Get the checkpoint again.")
    }
    return files
  }

  /// Whether there is such a tensor.
  public func contains(_ name: String) -> Bool { places[ExactString(name)] != nil }

  /// What the header says about `name`, or `nil` where there is no such tensor.
  public func tensor(_ name: String) -> Tensor? {
    places[ExactString(name)].map { tensors[$0.index] }
  }

  /// SHA-256 over all tensors in order of their names, lower-case hex.
  ///
  /// Each tensor adds a line `<bytes of name> <name> <dtype> <shape> <byte count>` and its data, so
  /// the value does not depend on how tensors are spread over files, nor on metadata. Reads
  /// everything once; later calls return the same string at once.
  public func sha256() -> String {
    digest.withLock { known in
      if let known { return known }
      var hash = SHA256()
      for tensor in tensors {
        guard let place = places[ExactString(tensor.name)] else { continue }
        let shape = tensor.shape.map { String($0) }.joined(separator: ",")
        let line =
          "\(tensor.name.utf8.count) \(tensor.name) \(tensor.dataType) [\(shape)] "
          + "\(place.range.count)\n"
        hash.update(data: Array(line.utf8))
        place.file.withUnsafeBytes { bytes in
          hash.updateInChunks(UnsafeRawBufferPointer(rebasing: bytes[place.range]))
        }
        place.file.release(place.range)
      }
      let hex = hash.finalize().hexadecimal
      known = hex
      return hex
    }
  }

  /// An F32, F16 or BF16 tensor as `Float`.
  ///
  /// - Parameter shape: the shape the caller needs; another one in the file is an error.
  /// - Throws: ``CheckpointError`` if the tensor is missing, has another shape or type, or holds a
  ///   value that is not finite (the first one is named by its index in row-major order).
  /// - Complexity: O(elements), one pass; bound by memory.
  public func floats(_ name: String, shape: [Int]) throws(CheckpointError) -> [Float] {
    let (tensor, place) = try find(name)
    guard tensor.shape == shape else {
      throw CheckpointError(
        "\(place.filePath.quoted): tensor \(name.quoted) has shape \(tensor.shape), but "
          + "\(shape) is needed. Check that 'config.json' belongs to this checkpoint.")
    }
    guard let source = FloatSource(rawValue: tensor.dataType) else {
      throw CheckpointError(
        "\(place.filePath.quoted): tensor \(name.quoted) has dtype \(tensor.dataType.quoted); "
          + "weights must be F32, F16 or BF16. Convert the checkpoint to BF16.")
    }
    let converted = place.file.withUnsafeBytes { bytes in
      source.floats(UnsafeRawBufferPointer(rebasing: bytes[place.range]))
    }
    place.file.release(place.range)
    if let wrong = converted.firstNonFinite {
      let value = wrong.isNaN ? "NaN" : "infinite"
      throw CheckpointError(
        "\(place.filePath.quoted): tensor \(name.quoted) is \(value) at index \(wrong.index). The "
          + "checkpoint is damaged or its training diverged; use another one.")
    }
    return converted.values
  }

  /// A U8 tensor where it lies in the mapped file.
  public func bytes(_ name: String) throws(CheckpointError) -> ByteSlice {
    let (tensor, place) = try find(name)
    guard tensor.dataType == "U8" else {
      throw CheckpointError(
        "\(place.filePath.quoted): tensor \(name.quoted) has dtype \(tensor.dataType.quoted), but "
          + "packed bytes (U8) are needed. Pack the checkpoint again with 'plan pack'.")
    }
    return ByteSlice(region: place.file, range: place.range)
  }

  private func find(_ name: String) throws(CheckpointError) -> (Tensor, Place) {
    guard let place = places[ExactString(name)] else {
      let examples = tensors.prefix(3).map(\.name.quoted).joined(separator: ", ")
      throw CheckpointError(
        "\(file.quoted) has no tensor \(name.quoted); it has \(tensors.count)"
          + (examples.isEmpty ? "." : ", such as \(examples).")
          + " Check that 'config.json' belongs to this checkpoint.")
    }
    return (tensors[place.index], place)
  }
}
