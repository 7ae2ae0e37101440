import Foundation

/// Any JSON, for tests that look at or damage files.
enum JSONValue: Hashable, Sendable, Codable {
  case null
  case bool(Bool)
  case number(Double)
  case string(String)
  case array([JSONValue])
  case object([String: JSONValue])

  init(from decoder: any Decoder) throws {
    let container = try decoder.singleValueContainer()
    if container.decodeNil() {
      self = .null
    } else if let value = try? container.decode(Bool.self) {
      self = .bool(value)
    } else if let value = try? container.decode(Double.self) {
      self = .number(value)
    } else if let value = try? container.decode(String.self) {
      self = .string(value)
    } else if let value = try? container.decode([JSONValue].self) {
      self = .array(value)
    } else {
      self = .object(try container.decode([String: JSONValue].self))
    }
  }

  func encode(to encoder: any Encoder) throws {
    var container = encoder.singleValueContainer()
    switch self {
    case .null: try container.encodeNil()
    case .bool(let value): try container.encode(value)
    case .number(let value): try container.encode(value)
    case .string(let value): try container.encode(value)
    case .array(let value): try container.encode(value)
    case .object(let value): try container.encode(value)
    }
  }

  init(parsing text: String) throws {
    self = try JSONDecoder().decode(JSONValue.self, from: Data(text.utf8))
  }

  /// The value at a key of an object or an index of an array.
  subscript(_ key: String) -> JSONValue? {
    switch self {
    case .object(let members): members[key]
    case .array(let items): Int(key).flatMap { items.indices.contains($0) ? items[$0] : nil }
    default: nil
    }
  }

  /// A copy with the value at `path` replaced, or removed where `value` is `nil`.
  func replacing(_ path: ArraySlice<String>, with value: JSONValue?) -> JSONValue? {
    guard let key = path.first else { return value }
    switch self {
    case .object(var members):
      let inner = members[key] ?? .null
      members[key] = inner.replacing(path.dropFirst(), with: value)
      return .object(members)
    case .array(var items):
      guard let index = Int(key), index <= items.count else { return self }
      let inner = index < items.count ? items[index] : .null
      if let replaced = inner.replacing(path.dropFirst(), with: value) {
        if index < items.count { items[index] = replaced } else { items.append(replaced) }
      } else {
        items.remove(at: index)
      }
      return .array(items)
    default:
      return self
    }
  }
}
