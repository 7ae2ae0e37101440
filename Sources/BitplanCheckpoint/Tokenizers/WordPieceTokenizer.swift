/// WordPiece: the longest piece from the left, then the longest continuation, and so on
/// (Schuster and Nakajima 2012, as BERT uses it).
struct WordPieceTokenizer: Tokenizer {
  private let pipeline: TextPipeline
  private let starts: ByteTrie
  private let continuations: ByteTrie
  private let unknown: Int
  private let prefix: String
  private let wordLimit: Int
  private let cleansUp: Bool

  var vocabularySize: Int { pipeline.vocabulary.size }

  init(_ file: TokenizerFile) throws(CheckpointError) {
    let model = file.model
    if let words = try file.root.optional("pre_tokenizer") {
      let type = try words.required("type")
      guard try type.string() == "BertPreTokenizer" else {
        throw type.error(
          "is \(try type.string().quoted); for WordPiece only BertPreTokenizer is supported.")
      }
    } else {
      throw try file.root.required("pre_tokenizer").error("is missing.")
    }
    if let node = try model.optional("unk_token") {
      guard let id = file.vocabulary.id(of: try node.string()) else {
        throw node.error("is \(try node.string().quoted), which is not in the vocabulary.")
      }
      unknown = id
    } else {
      throw try model.required("unk_token").error("is missing.")
    }
    let prefix = try model.optional("continuing_subword_prefix")?.string() ?? "##"
    guard !prefix.isEmpty else {
      throw try model.required("continuing_subword_prefix").error("is empty; BERT's is '##'.")
    }
    self.prefix = prefix
    wordLimit = try model.optional("max_input_chars_per_word")?.integer(in: 1...1_000_000) ?? 100
    var cleansUp = true
    if let decoder = try file.root.optional("decoder") {
      let type = try decoder.required("type")
      guard try type.string() == "WordPiece" else {
        throw type.error("is \(try type.string().quoted); only WordPiece is supported here.")
      }
      cleansUp = try decoder.optional("cleanup")?.boolean() ?? true
    }
    self.cleansUp = cleansUp
    var (starts, continuations) = (ByteTrie(), ByteTrie())
    for (token, id) in file.vocabulary.idOfToken where !token.string.isEmpty {
      starts.insert(token.string.utf8, value: id)
      if token.string.utf8.starts(with: prefix.utf8), token.string.utf8.count > prefix.utf8.count {
        continuations.insert(token.string.utf8.dropFirst(prefix.utf8.count), value: id)
      }
    }
    self.starts = starts
    self.continuations = continuations
    pipeline = TextPipeline(file)
  }

  func id(of token: String) -> Int? { pipeline.vocabulary.id(of: token) }

  func encode(_ text: String, addSpecialTokens: Bool) -> [Int] {
    pipeline.encode(text, addSpecialTokens: addSpecialTokens) { bytes, ids in
      for word in BertWords.ranges(bytes) { encode(bytes, word, into: &ids) }
    }
  }

  /// One word: all its pieces, or the unknown token alone.
  private func encode(_ bytes: [UInt8], _ word: Range<Int>, into ids: inout [Int]) {
    let start = ids.count
    let scalars = word.reduce(0) { $0 + (bytes[$1] & 0xC0 == 0x80 ? 0 : 1) }
    var position = scalars > wordLimit ? -1 : word.lowerBound
    while position >= 0, position < word.upperBound {
      let trie = position == word.lowerBound ? starts : continuations
      if let match = trie.longestMatch(bytes, from: position, to: word.upperBound) {
        ids.append(match.value)
        position = match.end
      } else {
        position = -1
      }
    }
    if position < 0 {
      ids.removeSubrange(start...)
      ids.append(unknown)
    }
  }

  func decode(_ ids: [Int]) -> String {
    var result = ""
    var isFirst = true
    for id in ids {
      guard var token = pipeline.vocabulary.token(of: id) else { continue }
      if !isFirst {
        token =
          token.utf8.starts(with: prefix.utf8)
          ? String(decoding: token.utf8.dropFirst(prefix.utf8.count), as: UTF8.self) : " " + token
      }
      result += cleansUp ? Self.cleanedUp(token) : token
      isFirst = false
    }
    return result
  }

  /// Takes out the space before punctuation and English contractions, as BERT's decoder does.
  private static func cleanedUp(_ token: String) -> String {
    for start in [" .", " ?", " !", " ,", " n't", " 'm", " 's", " 've", " 're"]
    where token.utf8.starts(with: start.utf8) {
      return String(decoding: token.utf8.dropFirst(), as: UTF8.self)
    }
    return token
  }
}
