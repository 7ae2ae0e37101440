import BitplanCore
import Crypto
import Foundation

/// Whole files: read, and write to a temporary file that is then renamed, so that a reader never sees half a file.
public enum ArtifactFile {
  /// Larger artifacts are not read: the largest real ones have a few megabytes.
  static let sizeLimit = 256 << 20

  /// JSON with sorted keys, unescaped slashes, pretty-printed with arrays of numbers on one line, and
  /// a final newline.
  ///
  /// The same value gives the same bytes. A number that is not finite is an error.
  public static func write(_ value: some Encodable, path: String) throws(CheckpointError) {
    try write(bytes: json(value, path) + [UInt8(ascii: "\n")], path: path)
  }

  /// The same bytes for a value with one long list, of which only an element at a time is in memory
  /// as text.
  ///
  /// - Parameters:
  ///   - value: the artifact without its list: empty, under `key`.
  ///   - key: the list's key, at the top level.
  public static func write(
    _ value: some Encodable, list key: String, of elements: [some Encodable], path: String
  ) throws(CheckpointError) {
    let frame = try json(value, path)
    let place = Array("\n  \"\(key)\" : [".utf8)
    guard let start = frame.firstRange(of: place + [UInt8(ascii: "]")])?.lowerBound,
      !elements.isEmpty
    else {
      throw CheckpointError("\(path.quoted) cannot be written: it has no list '\(key)'.")
    }
    let staged = try StagedFile(path: path)
    try staged.write(Array(frame[..<(start + place.count)]))
    for (index, element) in elements.enumerated() {
      var text = Array((index > 0 ? ",\n    " : "\n    ").utf8)
      for byte in try json(element, path) {
        text.append(byte)
        if byte == UInt8(ascii: "\n") { text += [UInt8](repeating: UInt8(ascii: " "), count: 4) }
      }
      try staged.write(text)
    }
    try staged.write(
      Array("\n  ".utf8) + frame[(start + place.count)...] + [UInt8(ascii: "\n")])
    try staged.commit()
  }

  private static func json(_ value: some Encodable, _ path: String) throws(CheckpointError)
    -> [UInt8]
  {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .prettyPrinted, .withoutEscapingSlashes]
    do {
      return NumberArrays.joined(Array(try encoder.encode(value)))
    } catch {
      throw CheckpointError(
        "\(path.quoted) cannot be written: \(sentence(about: error)). Nothing was changed.")
    }
  }

  /// Bytes as they are.
  public static func write(bytes: [UInt8], path: String) throws(CheckpointError) {
    let staged = try StagedFile(path: path)
    try staged.write(bytes)
    try staged.commit()
  }

  /// Text as it is.
  public static func write(text: String, path: String) throws(CheckpointError) {
    try write(bytes: Array(text.utf8), path: path)
  }

  /// Decodes; the error names the file, the key path and what to do.
  ///
  /// Refuses duplicate keys, and an unsupported `schemaVersion` before anything else is decoded, by
  /// naming the highest supported one.
  public static func read<Value: Decodable>(
    _ type: Value.Type, path: String, supportedSchemaVersion: Int
  ) throws(CheckpointError) -> Value {
    let mapped = try MappedFile(path: path)
    guard mapped.count <= sizeLimit else {
      throw CheckpointError(
        "\(path.quoted) has \(mapped.count) bytes; at most \(sizeLimit) are read. "
          + "It is not an artifact of Bitplan.")
    }
    guard mapped.count > 0 else {
      throw CheckpointError("\(path.quoted) is empty. Make it again.")
    }
    return try mapped.withBytes { (bytes) throws(CheckpointError) in
      let root: JSONNode
      do throws(JSONParser.Failure) {
        root = JSONNode(file: path, value: try JSONParser.parse(bytes))
      } catch {
        throw CheckpointError(
          "\(path.quoted) is not valid JSON: \(error.reason) at byte \(error.offset). Make it again."
        )
      }
      let version = try root.required("schemaVersion").integer(in: 1...Int.max)
      guard version <= supportedSchemaVersion else {
        throw CheckpointError(
          "\(path.quoted) has schemaVersion \(version); this version of Bitplan reads at most "
            + "\(supportedSchemaVersion). Update Bitplan, or make the file again.")
      }
      do {
        return try type.init(from: JSONValueDecoder(root.value))
      } catch {
        throw CheckpointError(
          "\(path): \(sentence(about: error)). Make the file again, or correct it by hand.")
      }
    }
  }

  /// SHA-256 of a file, lower-case hex.
  public static func sha256(path: String) throws(CheckpointError) -> String {
    let mapped = try MappedFile(path: path)
    var hash = SHA256()
    mapped.withUnsafeBytes { hash.updateInChunks($0) }
    return hash.finalize().hexadecimal
  }

  /// SHA-256 of bytes, lower-case hex.
  public static func sha256(_ bytes: some Sequence<UInt8>) -> String {
    var hash = SHA256()
    let done: Void? = bytes.withContiguousStorageIfAvailable {
      hash.updateInChunks(UnsafeRawBufferPointer($0))
    }
    if done == nil { hash.update(data: Array(bytes)) }
    return hash.finalize().hexadecimal
  }

  /// What a coder did not like: key path, then reason, without a final stop.
  private static func sentence(about error: any Error) -> String {
    switch error {
    case DecodingError.keyNotFound(let key, let context):
      located(context.codingPath, "key '\(key.stringValue)' is missing")
    case DecodingError.dataCorrupted(let context), DecodingError.typeMismatch(_, let context),
      DecodingError.valueNotFound(_, let context):
      located(context.codingPath, trimmed(context.debugDescription))
    case EncodingError.invalidValue(let value, let context):
      located(context.codingPath, "the value \(value) cannot be stored in JSON")
    default: "\(error)"
    }
  }

  private static func located(_ path: [any CodingKey], _ what: String) -> String {
    var text = ""
    for key in path {
      if let index = key.intValue {
        text += "[\(index)]"
      } else {
        text += text.isEmpty ? key.stringValue : ".\(key.stringValue)"
      }
    }
    return text.isEmpty ? what : "\(text): \(what)"
  }

  private static func trimmed(_ text: String) -> String {
    text.hasSuffix(".") ? String(text.dropLast()) : text
  }
}
