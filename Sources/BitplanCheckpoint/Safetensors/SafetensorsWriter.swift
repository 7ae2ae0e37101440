/// Writes a safetensors file: to a temporary file beside it, flushed, renamed. Tensors are streamed.
public struct SafetensorsWriter {
  /// A tensor to be written.
  public struct Entry {
    /// The name in the file.
    public let name: String
    /// The element type, such as `U8` or `F32`.
    public let dataType: String
    /// Elements along each dimension, outermost first.
    public let shape: [Int]
    /// Size of the data in bytes.
    public let byteCount: Int
    /// Calls the sink with the bytes, in any number of pieces that add up to `byteCount`.
    public let produce: (_ sink: (UnsafeRawBufferPointer) throws -> Void) throws -> Void

    /// Describes a tensor whose bytes are made when they are needed.
    public init(
      name: String, dataType: String, shape: [Int], byteCount: Int,
      produce: @escaping (_ sink: (UnsafeRawBufferPointer) throws -> Void) throws -> Void
    ) {
      self.name = name
      self.dataType = dataType
      self.shape = shape
      self.byteCount = byteCount
      self.produce = produce
    }
  }

  /// Data starts at a multiple of this many bytes.
  public static let alignment = 64

  /// Writes `entries` in the given order without holes; data starts at a multiple of 64 bytes.
  ///
  /// The header's keys are sorted, so equal input gives equal bytes.
  ///
  /// - Throws: ``CheckpointError`` if names repeat, a shape does not fit its size, an entry
  ///   produces another number of bytes than it announced, or the disk is full; whatever an entry's
  ///   `produce` throws. In every case the temporary file is gone and an old file is untouched.
  public static func write(path: String, metadata: [String: String], entries: [Entry]) throws {
    let header = try paddedHeader(path: path, metadata: metadata, entries: entries)
    let staged = try StagedFile(path: path)
    try header.withUnsafeBytes { try staged.write($0) }
    for entry in entries {
      var written = 0
      var failure: (any Error)?
      try entry.produce { bytes in
        // A producer that swallows an error must not make a file that looks complete.
        if let failure { throw failure }
        do {
          guard bytes.count <= entry.byteCount - written else {
            throw wrongCount(path, entry, "more than")
          }
          try staged.write(bytes)
          written += bytes.count
        } catch let error {
          failure = error
          throw error
        }
      }
      if let failure { throw failure }
      guard written == entry.byteCount else { throw wrongCount(path, entry, "\(written), not") }
    }
    try staged.commit()
  }

  private static func wrongCount(_ path: String, _ entry: Entry, _ what: String) -> CheckpointError
  {
    CheckpointError(
      "\(path.quoted) was not written: tensor \(entry.name.quoted) produced \(what) the "
        + "\(entry.byteCount) bytes it announced. This is a mistake in the program; report it.")
  }

  /// Length, header and spaces.
  private static func paddedHeader(
    path: String, metadata: [String: String], entries: [Entry]
  ) throws(CheckpointError) -> [UInt8] {
    var members: [(key: ExactString, json: String)] = []
    if !metadata.isEmpty {
      let pairs = metadata.map { (ExactString($0.key), $0.value) }.sorted { $0.0 < $1.0 }
      let body = pairs.map { "\(escaped($0.0.string)):\(escaped($0.1))" }.joined(separator: ",")
      members.append((ExactString("__metadata__"), "{\(body)}"))
    }
    var names = Set<ExactString>()
    var offset = 0
    for entry in entries {
      func failure(_ what: String) -> CheckpointError {
        CheckpointError("\(path.quoted) was not written: tensor \(entry.name.quoted) \(what).")
      }
      guard !entry.name.isEmpty, entry.name != "__metadata__" else {
        throw failure("has a name that safetensors does not allow")
      }
      guard names.insert(ExactString(entry.name)).inserted else { throw failure("appears twice") }
      let expected = DataType.bits(entry.dataType).flatMap {
        DataType.byteCount(bits: $0, shape: entry.shape)
      }
      guard let expected, expected == entry.byteCount else {
        throw failure(
          "announces \(entry.byteCount) bytes, which dtype \(entry.dataType.quoted) and shape "
            + "\(entry.shape) do not have")
      }
      let (end, overflow) = offset.addingReportingOverflow(entry.byteCount)
      guard !overflow else { throw failure("makes the file too large") }
      let shape = entry.shape.map { String($0) }.joined(separator: ",")
      members.append(
        (
          ExactString(entry.name),
          "{\"data_offsets\":[\(offset),\(end)],\"dtype\":\"\(entry.dataType)\",\"shape\":[\(shape)]}"
        ))
      offset = end
    }
    members.sort { $0.key < $1.key }
    let body = members.map { "\(escaped($0.key.string)):\($0.json)" }.joined(separator: ",")
    var header = Array("{\(body)}".utf8)
    while (8 + header.count) % alignment != 0 { header.append(UInt8(ascii: " ")) }
    guard header.count <= SafetensorsFile.headerLimit else {
      throw CheckpointError(
        "\(path.quoted) was not written: its header would have \(header.count) bytes; at most "
          + "\(SafetensorsFile.headerLimit) are allowed. Write fewer tensors or less metadata.")
    }
    return withUnsafeBytes(of: UInt64(header.count).littleEndian) { Array($0) } + header
  }

  /// A JSON string in quotes.
  private static func escaped(_ text: String) -> String {
    var result = "\""
    for scalar in text.unicodeScalars {
      switch scalar {
      case "\"": result += "\\\""
      case "\\": result += "\\\\"
      case "\u{0}"..."\u{1F}":
        let hex = String(scalar.value, radix: 16)
        result += "\\u" + String(repeating: "0", count: 4 - hex.count) + hex
      default: result.unicodeScalars.append(scalar)
      }
    }
    return result + "\""
  }
}
