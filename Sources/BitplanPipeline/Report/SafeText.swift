/// Text from files that nobody vouches for, made fit for terminals and markup.
package enum SafeText {
  /// `text` with every character that is not seen, or that moves others, spelled out: an escape
  /// character becomes `\u{1B}`, so that a name cannot drive a terminal or reverse a line.
  package static func visible(_ text: String) -> String {
    var result = ""
    for scalar in text.unicodeScalars {
      switch scalar.properties.generalCategory {
      case .control, .format, .lineSeparator, .paragraphSeparator, .surrogate, .privateUse,
        .unassigned:
        result += "\\u{\(String(scalar.value, radix: 16, uppercase: true))}"
      default:
        result.unicodeScalars.append(scalar)
      }
    }
    return result
  }

  /// `text` for the inside of an element or a quoted attribute, in HTML and in XML.
  package static func escaped(_ text: String) -> String {
    var result = ""
    for scalar in text.unicodeScalars {
      switch scalar {
      case "&": result += "&amp;"
      case "<": result += "&lt;"
      case ">": result += "&gt;"
      case "\"": result += "&quot;"
      case "'": result += "&#39;"
      case "\n", "\t": result.unicodeScalars.append(scalar)
      default:
        // XML has no way to write other control characters or noncharacters.
        let isAllowed =
          scalar.value >= 0x20 && !(0x7F...0x9F).contains(scalar.value)
          && scalar.value & 0xFFFE != 0xFFFE
        result.unicodeScalars.append(isAllowed ? scalar : "\u{FFFD}")
      }
    }
    return result
  }

  /// Columns that `text` takes in a terminal: two for East Asian wide characters, one for others.
  package static func columns(_ text: String) -> Int {
    text.reduce(0) { $0 + columns($1) }
  }

  /// `text` cut in its middle to `width` columns; both ends of a name tell operators apart.
  package static func shortened(_ text: String, to width: Int) -> String {
    guard columns(text) > width else { return text }
    guard width > 1 else { return String(repeating: "…", count: max(0, width)) }
    let tailRoom = (width - 1) * 2 / 3
    var tail = ""
    var used = 0
    for character in text.reversed() {
      guard used + columns(character) <= tailRoom else { break }
      used += columns(character)
      tail.insert(character, at: tail.startIndex)
    }
    var head = ""
    for character in text {
      guard used + columns(character) <= width - 1 else { break }
      used += columns(character)
      head.append(character)
    }
    return "\(head)…\(tail)"
  }

  private static func columns(_ character: Character) -> Int {
    guard let value = character.unicodeScalars.first?.value else { return 0 }
    switch value {
    case 0x1100...0x115F, 0x2E80...0xA4CF, 0xAC00...0xD7A3, 0xF900...0xFAFF, 0xFE30...0xFE6F,
      0xFF00...0xFF60, 0xFFE0...0xFFE6, 0x1F300...0x1FAFF, 0x20000...0x3FFFD:
      return 2
    default:
      return 1
    }
  }
}
