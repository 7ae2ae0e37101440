/// A value inside a JSON file that knows where it stands, so that every complaint about it can name
/// the file and the key.
struct JSONNode {
  /// The file, as the user named it.
  let file: String
  /// Keys and indices from the top, such as `model.vocab` or `added_tokens[3].id`.
  let path: String
  let value: JSONValue

  init(file: String, path: String = "", value: JSONValue) {
    self.file = file
    self.path = path
    self.value = value
  }

  /// Parses a whole file.
  init(file: String, bytes: UnsafeRawBufferPointer) throws(CheckpointError) {
    do {
      self.init(file: file, value: try JSONParser.parse(bytes))
    } catch {
      throw CheckpointError(
        "\(file.quoted) is not valid JSON: \(error.reason) at byte \(error.offset). "
          + "Get the file again from where it came.")
    }
  }

  /// Parses a text that is kept inside another file, which errors call `file`.
  init(file: String, text: String) throws(CheckpointError) {
    let bytes = Array(text.utf8)
    let parsed: Result<JSONNode, CheckpointError> = bytes.withUnsafeBytes { bytes in
      Result { () throws(CheckpointError) in try JSONNode(file: file, bytes: bytes) }
    }
    self = try parsed.get()
  }

  /// Reads and parses a file of at most `limit` bytes.
  init(contentsOf file: String, limit: Int) throws(CheckpointError) {
    let mapped = try MappedFile(path: file)
    guard mapped.count <= limit else {
      throw CheckpointError(
        "\(file.quoted) has \(mapped.count) bytes; at most \(limit) are read. "
          + "It is not the file its name says.")
    }
    guard mapped.count > 0 else {
      throw CheckpointError("\(file.quoted) is empty. Get the file again from where it came.")
    }
    self = try mapped.withBytes { (bytes) throws(CheckpointError) in
      try JSONNode(file: file, bytes: bytes)
    }
  }

  /// An error about this value.
  func error(_ what: String) -> CheckpointError {
    CheckpointError(
      path.isEmpty ? "\(file.quoted): \(what)" : "\(file.quoted): key \(path.quoted) \(what)")
  }

  private func member(_ key: String, _ value: JSONValue) -> JSONNode {
    JSONNode(file: file, path: path.isEmpty ? key : "\(path).\(key)", value: value)
  }

  /// The members of an object.
  func members() throws(CheckpointError) -> [(key: String, node: JSONNode)] {
    guard case .object(let members) = value else {
      throw error("must be an object, not \(value.kind).")
    }
    return members.map { ($0.key, member($0.key, $0.value)) }
  }

  /// The member `key`, or `nil` where it is absent or null.
  func optional(_ key: String) throws(CheckpointError) -> JSONNode? {
    guard case .object(let members) = value else {
      throw error("must be an object, not \(value.kind).")
    }
    for candidate in members where ExactString(candidate.key) == ExactString(key) {
      if case .null = candidate.value { return nil }
      return member(key, candidate.value)
    }
    return nil
  }

  /// The member `key`, which must be there and not null.
  func required(_ key: String) throws(CheckpointError) -> JSONNode {
    guard let node = try optional(key) else {
      throw member(key, .null).error("is missing.")
    }
    return node
  }

  /// The elements of an array.
  func elements() throws(CheckpointError) -> [JSONNode] {
    guard case .array(let elements) = value else {
      throw error("must be an array, not \(value.kind).")
    }
    return elements.enumerated().map {
      JSONNode(file: file, path: "\(path)[\($0.offset)]", value: $0.element)
    }
  }

  /// A string.
  func string() throws(CheckpointError) -> String {
    guard case .string(let text) = value else {
      throw error("must be a string, not \(value.kind).")
    }
    return text
  }

  /// True or false.
  func boolean() throws(CheckpointError) -> Bool {
    guard case .boolean(let flag) = value else {
      throw error("must be true or false, not \(value.kind).")
    }
    return flag
  }

  /// Any number.
  func number() throws(CheckpointError) -> Double {
    switch value {
    case .integer(let number): return Double(number)
    case .unsigned(let number): return Double(number)
    case .number(let number): return number
    default: throw error("must be a number, not \(value.kind).")
    }
  }

  /// An integer in `range`; `8.0` counts as 8.
  func integer(in range: ClosedRange<Int>) throws(CheckpointError) -> Int {
    let integer: Int?
    switch value {
    case .integer(let number): integer = number
    case .number(let number): integer = Int(exactly: number)
    default: integer = nil
    }
    guard let integer, range.contains(integer) else {
      let limits =
        range.upperBound == .max
        ? "of at least \(range.lowerBound)" : "from \(range.lowerBound) to \(range.upperBound)"
      throw error("must be an integer \(limits), not \(value.kind).")
    }
    return integer
  }
}
