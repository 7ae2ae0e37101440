/// The tokens that are cut out of the text before the model sees it, such as `<|bos|>`.
struct AddedTokens: Sendable {
  /// One entry of `added_tokens`.
  struct Token: Sendable {
    let id: Int
    let content: String
    /// Matches only where no word character touches it.
    let singleWord: Bool
    /// Takes white space before it.
    let stripsLeft: Bool
    /// Takes white space after it.
    let stripsRight: Bool
    /// Is looked for in the normalised text.
    let isNormalized: Bool
  }

  /// A piece of text: an added token, or what lies between two.
  enum Piece: Equatable {
    case token(Int)
    case text(Range<Int>)
  }

  private let tokens: [Token]
  private let trie: ByteTrie
  private let firstBytes: [Bool]

  /// `pattern` gives the bytes to look for, which differ from the content where it is normalised.
  init(_ tokens: [Token], pattern: (Token) -> [UInt8]) {
    var trie = ByteTrie()
    var firstBytes = Array(repeating: false, count: 256)
    for (index, token) in tokens.enumerated() {
      let bytes = pattern(token)
      guard let first = bytes.first else { continue }
      trie.insert(bytes, value: index)
      firstBytes[Int(first)] = true
    }
    self.tokens = tokens
    self.trie = trie
    self.firstBytes = firstBytes
  }

  /// Cuts `bytes` at the leftmost, then longest, tokens.
  func pieces(of bytes: [UInt8]) -> [Piece] {
    guard !bytes.isEmpty else { return [] }
    guard !trie.isEmpty else { return [.text(0..<bytes.count)] }
    var pieces: [Piece] = []
    var done = 0
    var position = 0
    while position < bytes.count {
      guard firstBytes[Int(bytes[position])],
        let match = trie.longestMatch(bytes, from: position, to: bytes.count)
      else {
        position += 1
        continue
      }
      let token = tokens[match.value]
      var (start, stop) = (position, match.end)
      position = match.end
      if token.singleWord, touchesWord(bytes, start, stop) { continue }
      if token.stripsLeft {
        while start > done {
          let before = ScalarText.start(bytes, before: start)
          guard ScalarText.scalar(bytes, at: before).scalar.properties.isWhitespace else { break }
          start = before
        }
      }
      if token.stripsRight {
        while stop < bytes.count {
          let (scalar, length) = ScalarText.scalar(bytes, at: stop)
          guard scalar.properties.isWhitespace else { break }
          stop += length
        }
      }
      start = max(start, done)
      if done < start { pieces.append(.text(done..<start)) }
      pieces.append(.token(token.id))
      done = stop
      position = max(position, stop)
    }
    if done < bytes.count { pieces.append(.text(done..<bytes.count)) }
    return pieces
  }

  private func touchesWord(_ bytes: [UInt8], _ start: Int, _ stop: Int) -> Bool {
    if start > 0 {
      let before = ScalarText.start(bytes, before: start)
      if ScalarText.scalar(bytes, at: before).scalar.isWordCharacter { return true }
    }
    return stop < bytes.count && ScalarText.scalar(bytes, at: stop).scalar.isWordCharacter
  }
}
