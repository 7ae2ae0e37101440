/// Byte-level byte-pair encoding (Sennrich et al. 2016; on bytes: Radford et al. 2019).
struct BytePairTokenizer: Tokenizer {
  private let pipeline: TextPipeline
  private let preTokenizer: ByteLevelPreTokenizer
  private let merges: MergeTable
  /// Token of every byte, or `nil` where the vocabulary lacks it.
  private let tokenOfByte: [UInt32?]
  private let unknown: UInt32?
  private let fusesUnknown: Bool
  /// Words that are a token as they are, where merges are to be ignored for them.
  private let wholeWords: ByteTrie?

  var vocabularySize: Int { pipeline.vocabulary.size }

  init(_ file: TokenizerFile) throws(CheckpointError) {
    let model = file.model
    let vocabulary = file.vocabulary
    for key in ["continuing_subword_prefix", "end_of_word_suffix"] {
      if let node = try model.optional(key), try !node.string().isEmpty {
        throw node.error("is \(try node.string().quoted), which byte-level BPE does not have.")
      }
    }
    if let node = try model.optional("byte_fallback"), try node.boolean() {
      throw node.error(
        "is true: this tokenizer falls back to bytes instead of working on them, which is not "
          + "supported. Use a model with a byte-level tokenizer.")
    }
    if let node = try model.optional("dropout"), try node.number() != 0 {
      throw node.error("is \(try node.number()); random merges are not supported. Set it to null.")
    }
    if let decoder = try file.root.optional("decoder") {
      let type = try decoder.required("type")
      guard try type.string() == "ByteLevel" else {
        throw type.error("is \(try type.string().quoted); for BPE only ByteLevel is supported.")
      }
    }
    if let node = try model.optional("unk_token") {
      guard let id = vocabulary.id(of: try node.string()) else {
        throw node.error("is \(try node.string().quoted), which is not in the vocabulary.")
      }
      unknown = UInt32(id)
    } else {
      unknown = nil
    }
    fusesUnknown = try model.optional("fuse_unk")?.boolean() ?? false
    merges = try MergeTable(model.required("merges"), vocabulary: vocabulary)
    preTokenizer = try ByteLevelPreTokenizer(file.root.required("pre_tokenizer"))
    if case .bert = file.normalizer {
      throw file.root.error("has a BertNormalizer with a BPE model, which is not supported.")
    }
    tokenOfByte = ByteLevelAlphabet.scalarOfByte.map {
      vocabulary.id(of: String($0)).map { UInt32($0) }
    }
    if try model.optional("ignore_merges")?.boolean() ?? false {
      var words = ByteTrie()
      for (token, id) in vocabulary.idOfToken {
        guard let bytes = ByteLevelAlphabet.bytes(of: token.string), !bytes.isEmpty else {
          continue
        }
        words.insert(bytes, value: id)
      }
      wholeWords = words
    } else {
      wholeWords = nil
    }
    pipeline = TextPipeline(file)
  }

  func id(of token: String) -> Int? { pipeline.vocabulary.id(of: token) }

  func encode(_ text: String, addSpecialTokens: Bool) -> [Int] {
    var merger = WordMerger()
    var known: [ShortWord: Range<Int>] = [:]
    var symbols: [UInt32] = []
    return pipeline.encode(text, addSpecialTokens: addSpecialTokens) { text, ids in
      let (bytes, words) = preTokenizer.words(text)
      for word in words {
        let key = ShortWord(bytes, word)
        // Most words of a text come again: copy what they gave the first time.
        if let key, let range = known[key] {
          for index in range { ids.append(ids[index]) }
          continue
        }
        let start = ids.count
        if let match = wholeWords?.longestMatch(bytes, from: word.lowerBound, to: word.upperBound),
          match.end == word.upperBound
        {
          ids.append(match.value)
        } else {
          fill(&symbols, bytes[word])
          merger.merge(symbols, merges, into: &ids)
        }
        if let key { known[key] = start..<ids.count }
      }
    }
  }

  /// The tokens of single bytes. A byte without one becomes the unknown token, or nothing.
  private func fill(_ symbols: inout [UInt32], _ bytes: ArraySlice<UInt8>) {
    symbols.removeAll(keepingCapacity: true)
    var wasUnknown = false
    for byte in bytes {
      if let token = tokenOfByte[Int(byte)] {
        symbols.append(token)
        wasUnknown = false
      } else if let unknown {
        if !(wasUnknown && fusesUnknown) { symbols.append(unknown) }
        wasUnknown = true
      }
    }
  }

  func decode(_ ids: [Int]) -> String {
    var bytes: [UInt8] = []
    for id in ids {
      guard let token = pipeline.vocabulary.token(of: id) else { continue }
      // A token with a character outside the alphabet stands for itself.
      bytes += ByteLevelAlphabet.bytes(of: token) ?? Array(token.utf8)
    }
    return String(decoding: bytes, as: UTF8.self)
  }
}

/// A word of at most 15 bytes as a dictionary key that needs no memory of its own.
private struct ShortWord: Hashable {
  private let low: UInt64
  private let high: UInt64

  init?(_ bytes: [UInt8], _ range: Range<Int>) {
    guard range.count < 16 else { return nil }
    var (low, high) = (UInt64(0), UInt64(range.count) << 56)
    for (offset, index) in range.enumerated() {
      if offset < 8 {
        low |= UInt64(bytes[index]) << (8 * offset)
      } else {
        high |= UInt64(bytes[index]) << (8 * (offset - 8))
      }
    }
    self.low = low
    self.high = high
  }
}
