/// A JSON document as read by ``JSONParser``: members keep their order, and no key appears twice.
enum JSONValue: Sendable {
  case null
  case boolean(Bool)
  /// A number written without fraction or exponent that fits.
  case integer(Int)
  /// A number above `Int.max` written without fraction or exponent that fits 64 bits.
  case unsigned(UInt64)
  /// Any other number; always finite.
  case number(Double)
  case string(String)
  case array([JSONValue])
  case object([Member])

  /// One `"key": value`.
  struct Member: Sendable {
    let key: String
    let value: JSONValue
  }

  /// What it is, for messages: "a string", "an object" and so on.
  var kind: String {
    switch self {
    case .null: "null"
    case .boolean(let value): "\(value)"
    case .integer(let value): "the number \(value)"
    case .unsigned(let value): "the number \(value)"
    case .number(let value): "the number \(value)"
    case .string(let value): "the string \(value.quoted)"
    case .array: "an array"
    case .object: "an object"
    }
  }
}
