/// The regular expressions with which pre-tokenizers cut text into words, as hand-written scanners.
///
/// Every scanner gives exactly the matches of its expression: at a position the alternatives are
/// tried in order, the first that matches wins, and every position matches one of them.
package enum SplitPattern: Sendable {
  /// GPT-2's expression.
  case gpt2
  /// Llama 3's (`digits` = 3) and Qwen 2's (`digits` = 1) expression.
  case llama3(digits: Int)

  private static let gpt2Text =
    #"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"#
  private static func llama3Text(_ number: String) -> String {
    #"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"# + number
      + #"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"#
  }

  /// The scanner for an expression, or `nil` for one that has none.
  package init?(expression: String) {
    switch expression {
    case Self.gpt2Text: self = .gpt2
    case Self.llama3Text(#"\p{N}{1,3}"#): self = .llama3(digits: 3)
    case Self.llama3Text(#"\p{N}"#): self = .llama3(digits: 1)
    default: return nil
    }
  }

  /// End of the word that starts at `start`, where `start < end`.
  package func endOfWord(_ bytes: [UInt8], from start: Int, to end: Int) -> Int {
    switch self {
    case .gpt2: Self.gpt2(bytes, start, end)
    case .llama3(let digits): Self.llama3(bytes, start, end, digits: digits)
    }
  }

  private static func gpt2(_ bytes: [UInt8], _ start: Int, _ end: Int) -> Int {
    if let stop = contraction(bytes, start, end, ignoringCase: false) { return stop }
    var position = start
    if bytes[start] == UInt8(ascii: " "), start + 1 < end { position += 1 }
    let (scalar, length) = ScalarText.scalar(bytes, at: position)
    let kind = ScalarClass(scalar)
    guard kind != .space else { return whitespace(bytes, start, end) }
    return run(of: kind, bytes, position + length, end)
  }

  private static func llama3(_ bytes: [UInt8], _ start: Int, _ end: Int, digits: Int) -> Int {
    if let stop = contraction(bytes, start, end, ignoringCase: true) { return stop }
    let (first, length) = ScalarText.scalar(bytes, at: start)
    let kind = ScalarClass(first)
    let after = start + length
    if kind == .letter { return run(of: .letter, bytes, after, end) }
    if kind == .number {
      var position = after
      for _ in 1..<max(digits, 1) where position < end {
        let (scalar, length) = ScalarText.scalar(bytes, at: position)
        guard ScalarClass(scalar) == .number else { break }
        position += length
      }
      return position
    }
    if first != "\r", first != "\n", after < end {
      // [^\r\n\p{L}\p{N}]?\p{L}+
      let (second, secondLength) = ScalarText.scalar(bytes, at: after)
      let secondKind = ScalarClass(second)
      if secondKind == .letter { return run(of: .letter, bytes, after + secondLength, end) }
      // The space of " ?[^\s\p{L}\p{N}]+".
      if first == " ", secondKind == .other {
        return lineEnds(bytes, run(of: .other, bytes, after + secondLength, end), end)
      }
    }
    if kind == .other { return lineEnds(bytes, run(of: .other, bytes, after, end), end) }
    // \s*[\r\n]+ ends after the last line end of the white space.
    let stop = run(of: .space, bytes, after, end)
    var last = stop
    while last > start, bytes[last - 1] != UInt8(ascii: "\r"), bytes[last - 1] != UInt8(ascii: "\n")
    {
      last -= 1
    }
    return last > start ? last : whitespace(bytes, start, end)
  }

  /// `[\r\n]*`
  private static func lineEnds(_ bytes: [UInt8], _ start: Int, _ end: Int) -> Int {
    var position = start
    while position < end,
      bytes[position] == UInt8(ascii: "\r") || bytes[position] == UInt8(ascii: "\n")
    { position += 1 }
    return position
  }

  /// `\s+(?!\S)|\s+`: white space, without its last scalar if something follows and more is there.
  private static func whitespace(_ bytes: [UInt8], _ start: Int, _ end: Int) -> Int {
    let stop = run(of: .space, bytes, start, end)
    guard stop < end else { return stop }
    let last = ScalarText.start(bytes, before: stop)
    return last > start ? last : stop
  }

  /// End of the longest run of one class.
  private static func run(of kind: ScalarClass, _ bytes: [UInt8], _ start: Int, _ end: Int) -> Int {
    var position = start
    while position < end {
      let (scalar, length) = ScalarText.scalar(bytes, at: position)
      guard ScalarClass(scalar) == kind else { break }
      position += length
    }
    return position
  }

  /// `'s|'t|'re|'ve|'m|'ll|'d`
  private static func contraction(
    _ bytes: [UInt8], _ start: Int, _ end: Int, ignoringCase: Bool
  ) -> Int? {
    guard bytes[start] == UInt8(ascii: "'"), start + 1 < end else { return nil }
    func lower(_ index: Int) -> UInt8 {
      guard index < end else { return 0 }
      let byte = bytes[index]
      return ignoringCase && byte >= 0x41 && byte <= 0x5A ? byte | 0x20 : byte
    }
    let (first, second) = (lower(start + 1), lower(start + 2))
    switch first {
    case UInt8(ascii: "s"), UInt8(ascii: "t"), UInt8(ascii: "m"), UInt8(ascii: "d"):
      return start + 2
    case UInt8(ascii: "r") where second == UInt8(ascii: "e"),
      UInt8(ascii: "v") where second == UInt8(ascii: "e"),
      UInt8(ascii: "l") where second == UInt8(ascii: "l"):
      return start + 3
    // U+017F, the long s, is a case of "s".
    case 0xC5 where ignoringCase && second == 0xBF: return start + 3
    default: return nil
    }
  }
}
