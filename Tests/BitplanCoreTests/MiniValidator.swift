import Foundation

/// The part of JSON Schema 2020-12 that the published schemas use. A keyword that it does not know
/// is an error, so a schema cannot ask for something that is not checked.
struct MiniValidator {
  private let root: JSONValue

  init(_ root: JSONValue) { self.root = root }

  private static let annotations: Set<String> = [
    "$schema", "$id", "$defs", "title", "description",
  ]

  /// What is wrong with `value`, with its place.
  func errors(_ value: JSONValue) -> [String] { errors(value, root, "$") }

  private func resolved(_ schema: JSONValue) -> JSONValue {
    guard case .string(let reference)? = schema["$ref"], reference.hasPrefix("#/$defs/"),
      let target = root["$defs"]?[String(reference.dropFirst(8))]
    else { return schema }
    return target
  }

  private func errors(_ value: JSONValue, _ schema: JSONValue, _ place: String) -> [String] {
    guard case .object(let keywords) = schema else { return ["\(place): the schema is no object"] }
    var found: [String] = []
    for (keyword, argument) in keywords.sorted(by: { $0.key < $1.key }) {
      switch (keyword, argument) {
      case (let keyword, _) where Self.annotations.contains(keyword):
        continue
      case ("$ref", _):
        let target = resolved(schema)
        found +=
          target == schema ? ["\(place): \(argument) is nowhere"] : errors(value, target, place)
      case ("type", .string(let type)):
        if !Self.has(value, type: type) { found.append("\(place) is no \(type)") }
      case ("const", _):
        if value != argument { found.append("\(place) is not \(argument)") }
      case ("enum", .array(let allowed)):
        if !allowed.contains(value) { found.append("\(place) is none of the words") }
      case ("pattern", .string(let pattern)):
        if case .string(let text) = value,
          text.range(of: pattern, options: .regularExpression) == nil
        {
          found.append("\(place) does not match")
        }
      case ("minLength", .number(let least)):
        if case .string(let text) = value, Double(text.count) < least {
          found.append("\(place) is too short")
        }
      case ("minimum", .number(let least)):
        if case .number(let number) = value, number < least {
          found.append("\(place) is too small")
        }
      case ("exclusiveMinimum", .number(let least)):
        if case .number(let number) = value, number <= least {
          found.append("\(place) is too small")
        }
      case ("maximum", .number(let most)):
        if case .number(let number) = value, number > most { found.append("\(place) is too large") }
      case ("minItems", .number(let least)):
        if case .array(let items) = value, Double(items.count) < least {
          found.append("\(place) has too few items")
        }
      case ("maxItems", .number(let most)):
        if case .array(let items) = value, Double(items.count) > most {
          found.append("\(place) has too many items")
        }
      case ("items", _):
        if case .array(let items) = value {
          for (index, item) in items.enumerated() {
            found += errors(item, argument, "\(place)[\(index)]")
          }
        }
      case ("required", .array(let keys)):
        if case .object(let members) = value {
          for case .string(let key) in keys where members[key] == nil {
            found.append("\(place) lacks '\(key)'")
          }
        }
      case ("properties", .object(let properties)):
        if case .object(let members) = value {
          for (key, member) in members.sorted(by: { $0.key < $1.key }) {
            if let property = properties[key] {
              found += errors(member, property, "\(place).\(key)")
            }
          }
        }
      case ("additionalProperties", .bool(false)):
        if case .object(let members) = value, case .object(let properties)? = keywords["properties"]
        {
          found += members.keys.sorted().filter { properties[$0] == nil }
            .map { "\(place) has the unknown key '\($0)'" }
        }
      default:
        found.append("\(place): the validator does not know '\(keyword)'")
      }
    }
    return found
  }

  private static func has(_ value: JSONValue, type: String) -> Bool {
    switch (type, value) {
    case ("object", .object), ("array", .array), ("string", .string), ("boolean", .bool),
      ("number", .number), ("null", .null):
      true
    case ("integer", .number(let number)): number == number.rounded()
    default: false
    }
  }

  /// Properties of the schema that `value` has nowhere.
  func unusedProperties(_ value: JSONValue) -> [String] {
    var used: Set<String> = []
    collect(value, root, "$", into: &used)
    return all(root, "$").subtracting(used).sorted()
  }

  private func collect(
    _ value: JSONValue, _ schema: JSONValue, _ place: String, into used: inout Set<String>
  ) {
    let schema = resolved(schema)
    switch value {
    case .object(let members):
      for (key, member) in members {
        guard let property = schema["properties"]?[key] else { continue }
        used.insert("\(place).\(key)")
        collect(member, property, "\(place).\(key)", into: &used)
      }
    case .array(let items):
      for item in items { collect(item, schema["items"] ?? .null, "\(place)[]", into: &used) }
    default: break
    }
  }

  private func all(_ schema: JSONValue, _ place: String) -> Set<String> {
    let schema = resolved(schema)
    var places: Set<String> = []
    if case .object(let properties)? = schema["properties"] {
      for (key, property) in properties {
        places.insert("\(place).\(key)")
        places.formUnion(all(property, "\(place).\(key)"))
      }
    }
    if let items = schema["items"] { places.formUnion(all(items, "\(place)[]")) }
    return places
  }

  /// Properties without a description of their own or of what they refer to.
  func undescribed() -> [String] {
    func walk(_ schema: JSONValue, _ place: String) -> [String] {
      let target = resolved(schema)
      var result: [String] = []
      if case .object(let properties)? = target["properties"] {
        for (key, property) in properties.sorted(by: { $0.key < $1.key }) {
          if property["description"] == nil, resolved(property)["description"] == nil {
            result.append("\(place).\(key)")
          }
          result += walk(property, "\(place).\(key)")
        }
      }
      if let items = target["items"] { result += walk(items, "\(place)[]") }
      return result
    }
    return walk(root, "$")
  }
}
