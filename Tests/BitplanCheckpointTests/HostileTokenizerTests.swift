import BitplanCheckpoint
import BitplanCore
import BitplanTestSupport
import Foundation
import Testing

/// Broken `tokenizer.json` files, made from good ones by one replacement each.
struct HostileTokenizerTests {
  static let bytePair = #"""
    {"added_tokens":[{"id":3,"content":"<s>","special":true}],"normalizer":null,
    "pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false,"use_regex":true},
    "post_processor":null,"decoder":{"type":"ByteLevel"},
    "model":{"type":"BPE","vocab":{"a":0,"b":1,"ab":2},"merges":["a b"]}}
    """#
  static let wordPiece = #"""
    {"added_tokens":[{"id":0,"content":"[UNK]","special":true}],
    "normalizer":{"type":"BertNormalizer","lowercase":true,"strip_accents":null},
    "pre_tokenizer":{"type":"BertPreTokenizer"},
    "post_processor":{"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"[UNK]"}},{"Sequence":{"id":"A"}}],"special_tokens":{"[UNK]":{"ids":[0]}}},
    "model":{"type":"WordPiece","unk_token":"[UNK]","vocab":{"[UNK]":0,"a":1,"##b":2}}}
    """#

  /// One replacement in a good file, and the words its error must hold.
  struct Case: Sendable, CustomTestStringConvertible {
    let base: String
    let old: String
    let new: String
    let words: [String]
    var testDescription: String { new.isEmpty ? "without \(old)" : String(new.prefix(60)) }
  }

  private static func bpe(_ old: String, _ new: String, _ words: String...) -> Case {
    Case(base: bytePair, old: old, new: new, words: words)
  }
  private static func piece(_ old: String, _ new: String, _ words: String...) -> Case {
    Case(base: wordPiece, old: old, new: new, words: words)
  }

  // One case a line.
  // swift-format-ignore
  static let cases: [Case] = [
    bpe(bytePair, "", "is empty"),
    bpe(bytePair, "[]", "must be an object"),
    bpe(bytePair, "{}", "'model' is missing"),
    bpe(bytePair, "\u{FEFF}{}", "not valid JSON", "byte 0"),
    bpe(#""model":"#, #""modell":"#, "'model' is missing"),
    bpe(#""model":{"#, #""model":[],"x":{"#, "'model' must be an object"),
    bpe(#""BPE""#, #""Unigram""#, "'model.type'", "'Unigram'", "not supported"),
    bpe(#""BPE""#, #""WordLevel""#, "'WordLevel'"),
    bpe(#""BPE""#, "3", "'model.type' must be a string"),
    bpe(#""vocab":"#, #""vocabulary":"#, "'model.vocab' is missing"),
    bpe(#"{"a":0,"b":1,"ab":2}"#, "{}", "'model.vocab' is empty"),
    bpe(#"{"a":0,"b":1,"ab":2}"#, #"[["a",-1.5]]"#, "'model.vocab' must be an object"),
    bpe(#""b":1"#, #""b":-1"#, "'model.vocab.b'", "-1"),
    bpe(#""b":1"#, #""b":999999999999"#, "'model.vocab.b'", "999999999999"),
    bpe(#""b":1"#, #""b":1e99"#, "'model.vocab.b'"),
    bpe(#""b":1"#, #""b":1.5"#, "'model.vocab.b'", "1.5"),
    bpe(#""b":1"#, #""b":"1""#, "'model.vocab.b'", "'1'"),
    bpe(#""b":1"#, #""b":0"#, "id 0", "'a' and 'b'"),
    bpe(#""b":1"#, #""a":1"#, "'a' appears twice"),
    bpe(#","merges":["a b"]"#, "", "'model.merges' is missing"),
    bpe(#"["a b"]"#, #"{"a":"b"}"#, "'model.merges' must be an array"),
    bpe(#""a b""#, #""a c""#, "'model.merges[0]'", "'c'", "not in the vocabulary"),
    bpe(#""a b""#, #""b a""#, "'ba'", "not in the vocabulary"),
    bpe(#""a b""#, #""a""#, "two tokens"),
    bpe(#""a b""#, #""a b b""#, "two tokens"),
    bpe(#""a b""#, #"["a"]"#, "two tokens, not 1"),
    bpe(#""a b""#, #"["a",1]"#, "'model.merges[0][1]'", "a string"),
    bpe(#""a b""#, "7", "'model.merges[0]' must be a string"),
    bpe(#""merges""#, #""byte_fallback":true,"merges""#, "'model.byte_fallback'"),
    bpe(#""merges""#, #""dropout":0.1,"merges""#, "'model.dropout'", "0.1"),
    bpe(#""merges""#, #""unk_token":"?","merges""#, "'model.unk_token'", "'?'"),
    bpe(#""merges""#, #""end_of_word_suffix":"</w>","merges""#, "'model.end_of_word_suffix'"),
    bpe(#""merges""#, #""ignore_merges":1,"merges""#, "'model.ignore_merges'", "true or false"),
    bpe(#""id":3"#, #""id":2"#, "added_tokens[0]", "id 2", "'ab'"),
    bpe(#""id":3"#, #""id":-3"#, "'added_tokens[0].id'"),
    bpe(#""id":3"#, #""id":99999999999"#, "'added_tokens[0].id'"),
    bpe(#""id":3,"content":"<s>""#, #""id":3,"content":"a""#, "the vocabulary says 0"),
    bpe(#""content":"<s>","#, "", "'added_tokens[0].content' is missing"),
    bpe(#""<s>""#, #""""#, "empty content"),
    bpe(#""special":true"#, #""special":"yes""#, "'added_tokens[0].special'"),
    bpe(#"[{"id":3,"content":"<s>","special":true}]"#, "5", "'added_tokens' must be an array"),
    bpe(#""normalizer":null"#, #""normalizer":{"type":"Precompiled"}"#, "'normalizer.type'"),
    bpe(#""normalizer":null"#, #""normalizer":{"type":"BertNormalizer"}"#, "BertNormalizer"),
    bpe(#""ByteLevel","add"#, #""Metaspace","add"#, "'pre_tokenizer.type'", "'Metaspace'"),
    bpe(#"{"type":"ByteLevel","add_prefix_space":false,"use_regex":true}"#, "null", "'pre_tokenizer' is missing"),
    bpe(#"{"type":"ByteLevel","add_prefix_space":false,"use_regex":true}"#, #"{"type":"Digits"}"#, "'ByteLevel' step"),
    bpe(#"{"type":"ByteLevel","add_prefix_space":false,"use_regex":true}"#, #"{"type":"Split","pattern":{"Regex":"(a+)+$"},"behavior":"Isolated"}"#, "'(a+)+$'", "not supported"),
    bpe(#"{"type":"ByteLevel","add_prefix_space":false,"use_regex":true}"#, #"{"type":"Sequence","pretokenizers":[{"type":"ByteLevel"},{"type":"Digits"}]}"#, "must be the last step"),
    bpe(#""use_regex":true"#, #""use_regex":"true""#, "'pre_tokenizer.use_regex'"),
    bpe(#""post_processor":null"#, #""post_processor":{"type":"Magic"}"#, "'post_processor.type'", "'Magic'"),
    bpe(#""post_processor":null"#, #""post_processor":{}"#, "'post_processor.type' is missing"),
    bpe(#""decoder":{"type":"ByteLevel"}"#, #""decoder":{"type":"Fuse"}"#, "'decoder.type'", "'Fuse'"),
    piece(#""unk_token":"[UNK]","#, "", "'model.unk_token' is missing"),
    piece(#""unk_token":"[UNK]""#, #""unk_token":"?""#, "'model.unk_token'", "'?'"),
    piece(#""unk_token""#, #""continuing_subword_prefix":"","unk_token""#, "continuing_subword_prefix"),
    piece(#""unk_token""#, #""max_input_chars_per_word":0,"unk_token""#, "max_input_chars_per_word"),
    piece(#""BertPreTokenizer""#, #""Whitespace""#, "'pre_tokenizer.type'", "'Whitespace'"),
    piece(#""pre_tokenizer":{"type":"BertPreTokenizer"},"#, "", "'pre_tokenizer' is missing"),
    piece(#""strip_accents":null"#, #""strip_accents":0"#, "'normalizer.strip_accents'"),
    piece(#"{"Sequence":{"id":"A"}}"#, #"{"Sequence":{"id":"B"}}"#, "'A'", "'B'"),
    piece(#",{"Sequence":{"id":"A"}}"#, "", "'post_processor.single'", "'A'"),
    piece(#"{"Sequence":{"id":"A"}}"#, #"{"Sequence":{"id":"A"}},{"Sequence":{"id":"A"}}"#, "once"),
    piece(#""ids":[0]"#, #""ids":[9]"#, "is 9", "not in the vocabulary"),
    piece(#""ids":[0]"#, #""ids":["x"]"#, "special_tokens.[UNK].ids[0]"),
    piece(#""special_tokens":{"[UNK]""#, #""special_tokens":{"[CLS]""#, "special_tokens.[UNK]' is missing"),
    piece("\"##b\":2", "\"##b\":1", "id 1"),
  ]

  private func load(_ json: String) throws -> any Tokenizer {
    let folder = try TemporaryFolder()
    try TinyCheckpoint.write(folder: folder.url, files: ["tokenizer.json": Array(json.utf8)])
    return try Tokenizers.load(path: folder.path())
  }

  @Test("the good files load and encode")
  func goodFiles() throws {
    let bytePair = try load(Self.bytePair)
    #expect(bytePair.encode("abab<s>ba", addSpecialTokens: true) == [2, 2, 3, 1, 0])
    #expect(bytePair.decode([2, 3, 99, -1, 0]) == "ab<s>a")
    // Bytes that the vocabulary lacks are dropped.
    #expect(bytePair.encode("a?b", addSpecialTokens: true) == [0, 1])
    let wordPiece = try load(Self.wordPiece)
    #expect(wordPiece.encode("AB \u{E1}b abc", addSpecialTokens: true) == [0, 1, 2, 1, 2, 0])
    #expect(wordPiece.decode([1, 2, 1]) == "ab a")
  }

  @Test("broken tokenizers are clear errors", arguments: cases)
  func broken(_ test: Case) throws {
    try #require(test.base.contains(test.old), "the replacement must apply")
    let json = test.base.replacingOccurrences(of: test.old, with: test.new)
    let error = #expect(throws: CheckpointError.self) { try load(json) }
    let text = error?.description ?? "no error"
    for word in ["tokenizer.json"] + test.words {
      #expect(text.contains(word), Comment(rawValue: text))
    }
    #expect(text.utf8.count < 1000 && text.hasSuffix("."), Comment(rawValue: text))
  }

  @Test("merges as pairs, tokens with spaces and old files without a type load")
  func variants() throws {
    for (old, new) in [
      (#"["a b"]"#, #"[["a","b"]]"#), (#"["a b"]"#, "[\"#version: 0.2\",\"a b\"]"),
      (#""type":"BPE","#, ""), (#""type":"BPE","#, #""continuing_subword_prefix":"","#),
    ] {
      let tokenizer = try load(Self.bytePair.replacingOccurrences(of: old, with: new))
      #expect(tokenizer.encode("ab", addSpecialTokens: false) == [2])
    }
  }

  @Test("tokens that differ only in their Unicode form are two tokens")
  func exactTokens() throws {
    let tokenizer = try load(
      Self.wordPiece.replacingOccurrences(
        of: #""a":1"#, with: "\"caf\u{E9}\":1,\"cafe\u{301}\":7"
      )
      .replacingOccurrences(of: #""strip_accents":null"#, with: #""strip_accents":false"#))
    #expect(tokenizer.id(of: "caf\u{E9}") == 1)
    #expect(tokenizer.id(of: "cafe\u{301}") == 7)
    #expect(tokenizer.encode("caf\u{E9} cafe\u{301}", addSpecialTokens: false) == [1, 7])
  }

  @Test("a long text without a word boundary is not quadratic")
  func longWord() throws {
    let json = Self.bytePair.replacingOccurrences(
      of: #""use_regex":true"#, with: #""use_regex":false"#)
    let tokenizer = try load(json)
    let text = String(repeating: "ab", count: 250_000)
    let clock = ContinuousClock()
    var ids: [Int] = []
    let duration = clock.measure { ids = tokenizer.encode(text, addSpecialTokens: false) }
    #expect(ids == Array(repeating: 2, count: 250_000))
    #expect(duration < .seconds(3))
  }
}

struct MutationTests {
  /// Damages a good file at random; loading it must throw a `CheckpointError` or succeed, never
  /// crash. The seed makes a failure repeatable.
  private func mutate(
    _ bytes: [UInt8], rounds: Int, within limit: Int, seed: UInt64,
    _ load: ([UInt8]) throws -> Void
  ) -> (accepted: Int, refused: Int) {
    var generator = SeededGenerator(state: seed)
    let interesting = Array("{}[]\",:0123456789-.eE\\u \u{0}".utf8) + [0xFF, 0x80, 0xC3]
    var (accepted, refused) = (0, 0)
    for _ in 0..<rounds {
      var mutant = bytes
      for _ in 0..<Int.random(in: 1...3, using: &generator) {
        let limit = min(limit, mutant.count)
        guard limit > 0 else { break }
        let at = Int.random(in: 0..<limit, using: &generator)
        switch Int.random(in: 0..<5, using: &generator) {
        case 0: mutant[at] = UInt8.random(in: 0...255, using: &generator)
        case 1: mutant[at] = interesting.randomElement(using: &generator) ?? 0
        case 2:
          mutant.removeSubrange(
            at..<min(at + Int.random(in: 1...9, using: &generator), mutant.count))
        case 3:
          let end = min(at + Int.random(in: 1...40, using: &generator), mutant.count)
          mutant.insert(contentsOf: mutant[at..<end], at: at)
        default: mutant.removeSubrange(Int.random(in: 0...mutant.count, using: &generator)...)
        }
      }
      do {
        try load(mutant)
        accepted += 1
      } catch is CheckpointError {
        refused += 1
      } catch {
        Issue.record("\(error)")
      }
    }
    return (accepted, refused)
  }

  @Test("randomly damaged safetensors files never crash")
  func safetensors() throws {
    let folder = try TemporaryFolder()
    let tensors = [
      TinyCheckpoint.Tensor("w", [2, 3], floats: [1, 2, 3, 4, 5, 6]),
      TinyCheckpoint.Tensor("v", "BF16", [4], bits: [1, 2, 3, 4]),
      TinyCheckpoint.Tensor("u", "U8", [5], bytes: [1, 2, 3, 4, 5]),
    ]
    let good = TinyCheckpoint.file(tensors, metadata: ["format": "pt"])
    let result = mutate(good, rounds: 4000, within: good.count, seed: 1) { bytes in
      try TinyCheckpoint.write(folder: folder.url, files: ["model.safetensors": bytes])
      let checkpoint = try Checkpoint(path: folder.path())
      _ = checkpoint.sha256()
      for tensor in checkpoint.tensors {
        _ = try checkpoint.floats(tensor.name, shape: tensor.shape)
      }
    }
    #expect(result.refused > 1000)
  }

  @Test(
    "randomly damaged tokenizers never crash",
    arguments: [
      HostileTokenizerTests.bytePair, HostileTokenizerTests.wordPiece,
    ])
  func tokenizers(_ good: String) throws {
    let folder = try TemporaryFolder()
    let bytes = Array(good.utf8)
    let result = mutate(bytes, rounds: 3000, within: bytes.count, seed: 2) { bytes in
      try TinyCheckpoint.write(folder: folder.url, files: ["tokenizer.json": bytes])
      let tokenizer = try Tokenizers.load(path: folder.path())
      _ = tokenizer.decode(tokenizer.encode("ab <s> \u{E9} [UNK] 12", addSpecialTokens: true))
    }
    #expect(result.refused > 1000)
  }

  @Test("randomly damaged configurations never crash")
  func configurations() throws {
    let folder = try TemporaryFolder()
    let good =
      #"{"model_type":"llama","n":8,"x":1e-5,"rope_parameters":{"rope_theta":1e4,"rope_type":"default"}}"#
    let bytes = Array(good.utf8)
    let result = mutate(bytes, rounds: 3000, within: bytes.count, seed: 3) { bytes in
      try TinyCheckpoint.write(folder: folder.url, files: ["config.json": bytes])
      let configuration = try ModelConfiguration(path: folder.path())
      _ = try configuration.integer("n", in: 1...64)
      _ = try configuration.number("x")
      _ = try configuration.ropeTheta()
    }
    #expect(result.refused > 1000)
  }
}
