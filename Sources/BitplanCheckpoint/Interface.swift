// INTERFACE STUB: to be replaced by one file per type. Signatures are the contract.
public import BitplanCore

/// What is wrong with a checkpoint or one of the files beside it, and what to do about it.
public struct CheckpointError: Error, Hashable, Sendable, CustomStringConvertible {
  public var description: String
  public init(_ description: String) { self.description = description }
}

/// A safetensors checkpoint: one file, an index file with its shards, or a folder that holds either.
public final class Checkpoint: Sendable {
  public struct Tensor: Hashable, Sendable { public let name: String; public let dataType: String; public let shape: [Int] }
  public let folder: String
  public let name: String
  /// All tensors, sorted by name.
  public let tensors: [Tensor]
  /// `__metadata__` of the (first) file.
  public let metadata: [String: String]
  /// Memory-maps and validates every header. No weights are read.
  public init(path: String) throws(CheckpointError) { fatalError() }
  /// SHA-256 over all tensors (name, dtype, shape, bytes), lower-case hex. Reads everything once; cached.
  public func sha256() -> String { fatalError() }
  /// F32, F16 or BF16 tensor as Float; checks shape and that every value is finite.
  public func floats(_ name: String, shape: [Int]) throws(CheckpointError) -> [Float] { fatalError() }
  /// U8 tensor where it lies in the mapped file.
  public func bytes(_ name: String) throws(CheckpointError) -> ByteSlice { fatalError() }
  /// Whether there is such a tensor.
  public func contains(_ name: String) -> Bool { fatalError() }
}

/// The part of `config.json` that every architecture has; each architecture reads the rest.
public struct ModelConfiguration: Sendable {
  public let modelType: String
  public init(path: String) throws(CheckpointError) { fatalError() }
  // typed accessors with range checks that name file and key in their errors
  public func integer(_ key: String, in range: ClosedRange<Int>, default: Int? = nil) throws(CheckpointError) -> Int { fatalError() }
  public func number(_ key: String, default: Double? = nil) throws(CheckpointError) -> Double { fatalError() }
  public func boolean(_ key: String, default: Bool) throws(CheckpointError) -> Bool { fatalError() }
  public func string(_ key: String, default: String? = nil) throws(CheckpointError) -> String { fatalError() }
  /// RoPE base: `rope_theta` at the top (transformers 4) or inside `rope_parameters` (transformers 5). Refuses scaled RoPE types.
  public func ropeTheta() throws(CheckpointError) -> Double { fatalError() }
}

/// Text to token ids and back, as `tokenizer.json` says: byte-level BPE or WordPiece.
public protocol Tokenizer: Sendable {
  var vocabularySize: Int { get }
  /// Token ids; with `addSpecialTokens` as the post-processor says (`[CLS] … [SEP]`), without: the text alone.
  func encode(_ text: String, addSpecialTokens: Bool) -> [Int]
  func decode(_ ids: [Int]) -> String
  func id(of token: String) -> Int?
}

public enum Tokenizers {
  public static func load(path: String) throws(CheckpointError) -> any Tokenizer { fatalError() }
}

/// Writes a safetensors file: to a temporary file beside it, flushed, renamed. Tensors are streamed.
public struct SafetensorsWriter {
  public struct Entry { public let name: String; public let dataType: String; public let shape: [Int]; public let byteCount: Int
    /// Calls the sink with the bytes, in any number of pieces that add up to `byteCount`.
    public let produce: (_ sink: (UnsafeRawBufferPointer) throws -> Void) throws -> Void }
  /// Data starts at a multiple of 64 bytes; entries are laid out in the given order without holes.
  public static func write(path: String, metadata: [String: String], entries: [Entry]) throws { fatalError() }
}

/// Whole files: read, and write to a temporary file that is then renamed, so that a reader never sees half a file.
public enum ArtifactFile {
  /// JSON with sorted keys, unescaped slashes, pretty-printed, and a final newline.
  public static func write(_ value: some Encodable, path: String) throws(CheckpointError) { fatalError() }
  /// Decodes; the error names the file, the key path and what to do. Refuses an unsupported `schemaVersion` by naming the highest supported one.
  public static func read<Value: Decodable>(_ type: Value.Type, path: String, supportedSchemaVersion: Int) throws(CheckpointError) -> Value { fatalError() }
  /// SHA-256 of a file, lower-case hex.
  public static func sha256(path: String) throws(CheckpointError) -> String { fatalError() }
  /// SHA-256 of bytes, lower-case hex.
  public static func sha256(_ bytes: some Sequence<UInt8>) -> String { fatalError() }
}
