import Foundation

/// BERT's text clean-up: control characters, CJK spacing, accents, case.
struct BertNormalizer: Sendable {
  let cleansText: Bool
  let handlesChineseCharacters: Bool
  let stripsAccents: Bool
  let lowercases: Bool

  /// The normalised text, as UTF-8.
  func normalize(_ bytes: [UInt8]) -> [UInt8] {
    var scalars: [Unicode.Scalar] = []
    scalars.reserveCapacity(bytes.count)
    var position = 0
    while position < bytes.count {
      let (scalar, length) = ScalarText.scalar(bytes, at: position)
      position += length
      if cleansText {
        if Self.isRemoved(scalar) { continue }
        if Self.isSpace(scalar) {
          scalars.append(" ")
          continue
        }
      }
      if handlesChineseCharacters, Self.isChinese(scalar) {
        scalars.append(contentsOf: [" ", scalar, " "])
      } else {
        scalars.append(scalar)
      }
    }
    if stripsAccents, scalars.contains(where: { $0.value >= 0xC0 }) {
      var text = String.UnicodeScalarView()
      text.append(contentsOf: scalars)
      scalars = String(text).decomposedStringWithCanonicalMapping.unicodeScalars.filter {
        $0.value < 0x300 || $0.properties.generalCategory != .nonspacingMark
      }
    }
    var result: [UInt8] = []
    result.reserveCapacity(scalars.count)
    for scalar in scalars {
      if scalar.value < 0x80 {
        let byte = UInt8(scalar.value)
        result.append(lowercases && byte >= 0x41 && byte <= 0x5A ? byte | 0x20 : byte)
      } else if lowercases {
        // Scalar by scalar: no special case for a final sigma.
        result.append(contentsOf: scalar.properties.lowercaseMapping.utf8)
      } else {
        result.append(contentsOf: String(scalar).utf8)
      }
    }
    return result
  }

  private static func isSpace(_ scalar: Unicode.Scalar) -> Bool {
    scalar.value < 0x80
      ? scalar == " " || (0x09...0x0D).contains(scalar.value) : scalar.properties.isWhitespace
  }

  /// NUL, U+FFFD, and the "Other" categories except tab and line ends.
  private static func isRemoved(_ scalar: Unicode.Scalar) -> Bool {
    if scalar.value < 0x80 {
      return (scalar.value < 0x20 && scalar != "\t" && scalar != "\n" && scalar != "\r")
        || scalar.value == 0x7F
    }
    if scalar == "\u{FFFD}" { return true }
    switch scalar.properties.generalCategory {
    case .control, .format, .privateUse, .surrogate: return true
    default: return false
    }
  }

  /// The CJK blocks that BERT sets apart, as its Rust implementation lists them.
  private static func isChinese(_ scalar: Unicode.Scalar) -> Bool {
    switch scalar.value {
    case 0x4E00...0x9FFF, 0x3400...0x4DBF, 0x20000...0x2A6DF, 0x2A700...0x2B73F, 0x2B740...0x2B81F,
      0x2B920...0x2CEAF, 0xF900...0xFAFF, 0x2F800...0x2FA1F:
      true
    default: false
    }
  }
}

/// BERT's pre-tokenizer: words are cut at white space, which is dropped, and around punctuation.
enum BertWords {
  /// Byte ranges of the words.
  static func ranges(_ bytes: [UInt8]) -> [Range<Int>] {
    var words: [Range<Int>] = []
    var start = 0
    var position = 0
    while position < bytes.count {
      let (scalar, length) = ScalarText.scalar(bytes, at: position)
      let isPunctuation = isPunctuation(scalar)
      if isPunctuation || scalar.properties.isWhitespace {
        if start < position { words.append(start..<position) }
        if isPunctuation { words.append(position..<position + length) }
        start = position + length
      }
      position += length
    }
    if start < bytes.count { words.append(start..<bytes.count) }
    return words
  }

  private static func isPunctuation(_ scalar: Unicode.Scalar) -> Bool {
    if scalar.value < 0x80 {
      switch scalar.value {
      case 0x21...0x2F, 0x3A...0x40, 0x5B...0x60, 0x7B...0x7E: return true
      default: return false
      }
    }
    switch scalar.properties.generalCategory {
    case .connectorPunctuation, .dashPunctuation, .openPunctuation, .closePunctuation,
      .initialPunctuation, .finalPunctuation, .otherPunctuation:
      return true
    default: return false
    }
  }
}
