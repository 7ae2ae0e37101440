/// Decodes `Decodable` values from a document that ``JSONParser`` has read.
///
/// Foundation's decoder loses the key path of a number that does not fit its type and accepts
/// duplicate keys; here every error knows its place, and the document has been checked already.
struct JSONValueDecoder: Decoder {
  let value: JSONValue
  let codingPath: [any CodingKey]
  let userInfo: [CodingUserInfoKey: Any] = [:]

  init(_ value: JSONValue, path: [any CodingKey] = []) {
    self.value = value
    codingPath = path
  }

  func container<Key: CodingKey>(
    keyedBy type: Key.Type
  ) throws -> KeyedDecodingContainer<Key> {
    guard case .object(let members) = value else { throw mismatch("an object") }
    return KeyedDecodingContainer(Keyed(decoder: self, members: members))
  }

  func unkeyedContainer() throws -> any UnkeyedDecodingContainer {
    guard case .array(let elements) = value else { throw mismatch("an array") }
    return Unkeyed(decoder: self, elements: elements)
  }

  func singleValueContainer() -> any SingleValueDecodingContainer { Single(decoder: self) }

  private func mismatch(_ expected: String) -> DecodingError {
    DecodingError.dataCorrupted(
      DecodingError.Context(
        codingPath: codingPath, debugDescription: "\(expected) is expected, not \(value.kind)"))
  }

  private func child(_ value: JSONValue, _ key: any CodingKey) -> JSONValueDecoder {
    JSONValueDecoder(value, path: codingPath + [key])
  }

  /// A primitive where it stands, or whatever the type makes of it.
  private func decode<Value: Decodable>(_ type: Value.Type) throws -> Value {
    switch (type, value) {
    case (is String.Type, .string(let text)): return try cast(text, "a string")
    case (is String.Type, _): throw mismatch("a string")
    case (is Bool.Type, .boolean(let flag)): return try cast(flag, "true or false")
    case (is Bool.Type, _): throw mismatch("true or false")
    case (is Double.Type, _): return try cast(try number(), "a number")
    case (is Float.Type, _): return try cast(Float(try number()), "a number")
    default: break
    }
    if let integer = type as? any FixedWidthInteger.Type {
      return try cast(try self.integer(integer), "an integer")
    }
    return try type.init(from: self)
  }

  private func cast<Value>(_ value: some Any, _ expected: String) throws -> Value {
    guard let value = value as? Value else { throw mismatch(expected) }
    return value
  }

  private func number() throws -> Double {
    switch value {
    case .integer(let number): return Double(number)
    case .unsigned(let number): return Double(number)
    case .number(let number): return number
    default: throw mismatch("a number")
    }
  }

  private func integer<Value: FixedWidthInteger>(_ type: Value.Type) throws -> any FixedWidthInteger
  {
    let integer: Value? =
      switch value {
      case .integer(let number): Value(exactly: number)
      case .unsigned(let number): Value(exactly: number)
      default: nil
      }
    guard let integer else {
      throw mismatch("an integer from \(Value.min) to \(Value.max)")
    }
    return integer
  }

  private struct Keyed<Key: CodingKey>: KeyedDecodingContainerProtocol {
    let decoder: JSONValueDecoder
    let members: [JSONValue.Member]

    var codingPath: [any CodingKey] { decoder.codingPath }
    var allKeys: [Key] { members.compactMap { Key(stringValue: $0.key) } }

    private func find(_ key: Key) -> JSONValue? {
      let name = ExactString(key.stringValue)
      return members.first { ExactString($0.key) == name }?.value
    }

    private func child(_ key: Key) throws -> JSONValueDecoder {
      guard let value = find(key) else {
        throw DecodingError.keyNotFound(
          key, DecodingError.Context(codingPath: codingPath, debugDescription: "missing"))
      }
      return decoder.child(value, key)
    }

    func contains(_ key: Key) -> Bool { find(key) != nil }

    func decodeNil(forKey key: Key) throws -> Bool {
      if case .null = try child(key).value { return true }
      return false
    }

    func decode<Value: Decodable>(_ type: Value.Type, forKey key: Key) throws -> Value {
      try child(key).decode(type)
    }

    func nestedContainer<Nested: CodingKey>(
      keyedBy type: Nested.Type, forKey key: Key
    ) throws -> KeyedDecodingContainer<Nested> {
      try child(key).container(keyedBy: type)
    }

    func nestedUnkeyedContainer(forKey key: Key) throws -> any UnkeyedDecodingContainer {
      try child(key).unkeyedContainer()
    }

    func superDecoder() -> any Decoder { decoder }
    func superDecoder(forKey key: Key) throws -> any Decoder { try child(key) }
  }

  private struct Unkeyed: UnkeyedDecodingContainer {
    struct Index: CodingKey {
      let intValue: Int?
      var stringValue: String { "\(intValue ?? 0)" }
      init(intValue: Int) { self.intValue = intValue }
      init?(stringValue: String) { nil }
    }

    let decoder: JSONValueDecoder
    let elements: [JSONValue]
    var currentIndex = 0

    var codingPath: [any CodingKey] { decoder.codingPath }
    var count: Int? { elements.count }
    var isAtEnd: Bool { currentIndex >= elements.count }

    private func current() throws -> JSONValueDecoder {
      guard !isAtEnd else {
        throw DecodingError.dataCorrupted(
          DecodingError.Context(
            codingPath: codingPath,
            debugDescription: "more than \(elements.count) elements are expected"))
      }
      return decoder.child(elements[currentIndex], Index(intValue: currentIndex))
    }

    mutating func decodeNil() throws -> Bool {
      guard case .null = try current().value else { return false }
      currentIndex += 1
      return true
    }

    mutating func decode<Value: Decodable>(_ type: Value.Type) throws -> Value {
      let value = try current().decode(type)
      currentIndex += 1
      return value
    }

    mutating func nestedContainer<Nested: CodingKey>(
      keyedBy type: Nested.Type
    ) throws -> KeyedDecodingContainer<Nested> {
      let container = try current().container(keyedBy: type)
      currentIndex += 1
      return container
    }

    mutating func nestedUnkeyedContainer() throws -> any UnkeyedDecodingContainer {
      let container = try current().unkeyedContainer()
      currentIndex += 1
      return container
    }

    mutating func superDecoder() throws -> any Decoder {
      let element = try current()
      currentIndex += 1
      return element
    }
  }

  private struct Single: SingleValueDecodingContainer {
    let decoder: JSONValueDecoder
    var codingPath: [any CodingKey] { decoder.codingPath }

    func decodeNil() -> Bool {
      if case .null = decoder.value { return true }
      return false
    }

    func decode<Value: Decodable>(_ type: Value.Type) throws -> Value { try decoder.decode(type) }
  }
}
