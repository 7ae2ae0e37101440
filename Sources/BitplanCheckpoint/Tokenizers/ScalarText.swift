/// Unicode scalars inside valid UTF-8 bytes, without making strings.
enum ScalarText {
  /// The scalar that starts at `index`, and its length in bytes.
  @inline(__always)
  static func scalar(_ bytes: [UInt8], at index: Int) -> (scalar: Unicode.Scalar, length: Int) {
    let first = bytes[index]
    if first < 0x80 { return (Unicode.Scalar(first), 1) }
    var value: UInt32
    let length: Int
    switch first {
    case ..<0xE0: (value, length) = (UInt32(first & 0x1F), 2)
    case ..<0xF0: (value, length) = (UInt32(first & 0x0F), 3)
    default: (value, length) = (UInt32(first & 0x07), 4)
    }
    for offset in 1..<length { value = value << 6 | UInt32(bytes[index + offset] & 0x3F) }
    return (Unicode.Scalar(value) ?? "\u{FFFD}", length)
  }

  /// Where the scalar that ends before `index` starts.
  static func start(_ bytes: [UInt8], before index: Int) -> Int {
    var start = index - 1
    while start > 0, bytes[start] & 0xC0 == 0x80 { start -= 1 }
    return start
  }
}

/// What the pre-tokenizers' patterns tell apart.
enum ScalarClass: UInt8 {
  /// `\p{L}`
  case letter
  /// `\p{N}`
  case number
  /// `\s`
  case space
  case other

  private static let ascii: [ScalarClass] = (0..<128).map { ScalarClass(slow: Unicode.Scalar($0)) }

  @inline(__always)
  init(_ scalar: Unicode.Scalar) {
    self = scalar.value < 128 ? Self.ascii[Int(scalar.value)] : ScalarClass(slow: scalar)
  }

  private init(slow scalar: Unicode.Scalar) {
    switch scalar.properties.generalCategory {
    case .uppercaseLetter, .lowercaseLetter, .titlecaseLetter, .modifierLetter, .otherLetter:
      self = .letter
    case .decimalNumber, .letterNumber, .otherNumber: self = .number
    default: self = scalar.properties.isWhitespace ? .space : .other
    }
  }
}

extension Unicode.Scalar {
  /// Regular expressions' `\w`: letters, marks, digits, connectors and joiners (UTS #18).
  var isWordCharacter: Bool {
    if properties.isAlphabetic || properties.isJoinControl { return true }
    switch properties.generalCategory {
    case .nonspacingMark, .spacingMark, .enclosingMark, .decimalNumber, .connectorPunctuation:
      return true
    default: return false
    }
  }
}
