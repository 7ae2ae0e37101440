import BitplanCheckpoint
import BitplanCore
import BitplanEngine
import BitplanTestSupport
import Foundation
import Testing

struct ConfigurationTests {
  static let llama: [String: String] = [
    "model_type": "\"llama\"", "vocab_size": "32", "hidden_size": "48", "intermediate_size": "80",
    "num_hidden_layers": "2", "num_attention_heads": "4", "num_key_value_heads": "2",
    "max_position_embeddings": "64", "rms_norm_eps": "1e-6", "hidden_act": "\"silu\"",
  ]
  static let bert: [String: String] = [
    "model_type": "\"bert\"", "vocab_size": "32", "hidden_size": "48", "intermediate_size": "80",
    "num_hidden_layers": "2", "num_attention_heads": "4", "max_position_embeddings": "64",
    "layer_norm_eps": "1e-12", "hidden_act": "\"gelu\"",
  ]

  static func architecture(
    _ base: [String: String], _ changes: [String: String?] = [:], tensors: Set<String> = []
  ) throws -> any Architecture {
    let keys = base.merging(changes.compactMapValues { $0 }) { $1 }
      .filter { changes[$0.key, default: ""] != nil }
    let text = "{" + keys.map { "\"\($0)\": \($1)" }.joined(separator: ", ") + "}"
    return try Architectures.make(
      ModelConfiguration(text: text, name: "config.json"), tensorNames: tensors)
  }

  @Test("defaults are those of transformers")
  func defaults() throws {
    let architecture = try Self.architecture(Self.llama, ["num_key_value_heads": nil])
    let decoder = try #require(architecture as? Llama).decoder
    #expect(decoder.keyValueHeadCount == 4)
    #expect(decoder.headSize == 12)
    #expect(decoder.ropeTheta == 10_000)
    #expect(!decoder.tiedHead && !decoder.queryKeyValueBias && !decoder.mlpBias)
    #expect(architecture.operators.count == 16)
    #expect(architecture.operators.last?.role == .head)
    #expect(architecture.operators[2].shape.outputFeatures == 48)

    let biased = try Self.architecture(
      Self.llama, ["attention_bias": "true", "mlp_bias": "true", "tie_word_embeddings": "true"])
    #expect(biased.operators.count == 15)
    #expect(biased.vectors.count == 2 * 9 + 1)
    #expect(biased.vectors.contains { $0.name == "model.layers.1.mlp.down_proj.bias" })
  }

  @Test("BERT's names carry the checkpoint's prefix")
  func bertPrefix() throws {
    let plain = try Self.architecture(Self.bert)
    #expect(plain.operators[0].name == "embeddings.word_embeddings")
    let prefixed = try Self.architecture(
      Self.bert, tensors: ["bert.embeddings.word_embeddings.weight"])
    #expect(prefixed.operators[6].name == "bert.encoder.layer.0.output.dense")
    #expect(prefixed.vectors[0].name == "bert.embeddings.position_embeddings.weight")
  }

  @Test(
    "llamas that cannot be run are refused with the key",
    arguments: [
      ("num_key_value_heads", "3"), ("num_attention_heads", "0"), ("head_dim", "7"),
      ("hidden_size", "-48"), ("hidden_act", "\"gelu\""), ("rms_norm_eps", "0"),
      ("rms_norm_eps", "-1"), ("sliding_window", "-16"), ("partial_rotary_factor", "0.5"),
      ("rope_scaling", "{\"rope_type\": \"llama3\", \"factor\": 8}"), ("vocab_size", "1e99"),
      ("num_hidden_layers", "999999999"), ("attention_bias", "3"), ("rope_theta", "-1"),
      ("model_type", "\"gpt2\""), ("max_position_embeddings", "\"many\""),
    ])
  func refusesLlama(_ key: String, _ value: String) throws {
    do {
      _ = try Self.architecture(Self.llama, [key: value])
      Issue.record("\(key) = \(value) was accepted")
    } catch {
      let names = ["num_key_value_heads": "key and value heads"]
      #expect("\(error)".contains(names[key] ?? key), "\(error)")
    }
  }

  @Test(
    "a sliding window limits the sequence, where the family and the file say that it is used",
    arguments: [
      ("llama", "null", nil, 64), ("llama", "64", nil, 64), ("mistral", "16", nil, 16),
      ("mistral", "4096", nil, 64), ("mistral", "16", "false", 64), ("qwen2", "16", nil, 64),
      ("qwen2", "16", "true", 16),
    ] as [(String, String, String?, Int)])
  func slidingWindow(_ type: String, _ window: String, _ used: String?, _ tokens: Int) throws {
    var changes: [String: String?] = ["model_type": "\"\(type)\"", "sliding_window": window]
    if let used { changes["use_sliding_window"] = used }
    #expect(try Self.architecture(Self.llama, changes).maximumTokens == tokens)
  }

  @Test(
    "encoders that cannot be run are refused with the key",
    arguments: [
      ("num_attention_heads", "5"), ("hidden_act", "\"relu\""), ("is_decoder", "true"),
      ("position_embedding_type", "\"relative_key\""), ("layer_norm_eps", "2"),
      ("type_vocab_size", "0"),
    ])
  func refusesBert(_ key: String, _ value: String) throws {
    do {
      _ = try Self.architecture(Self.bert, [key: value])
      Issue.record("\(key) = \(value) was accepted")
    } catch { #expect("\(error)".contains(key), "\(error)") }
  }

  @Test("missing tensors are named, and unused ones are listed")
  func missingTensors() throws {
    let folder = FileManager.default.temporaryDirectory
      .appending(path: "bitplan-config-\(UInt64.random(in: 0 ... .max))")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: folder) }
    let source = GoldenTests.golden.appending(path: "tiny-llama")
    let text = try String(contentsOf: source.appending(path: "config.json"), encoding: .utf8)
    try FileManager.default.copyItem(
      at: source.appending(path: "model.safetensors"),
      to: folder.appending(path: "model.safetensors"))
    func load(_ text: String) throws -> Model {
      try text.write(to: folder.appending(path: "config.json"), atomically: true, encoding: .utf8)
      return try Model.load(Checkpoint(path: folder.path))
    }
    let more = text.replacing("\"num_hidden_layers\": 3", with: "\"num_hidden_layers\": 4")
    do {
      _ = try load(more)
      Issue.record("a fourth layer was found")
    } catch {
      #expect("\(error)".contains("'model.layers.3.self_attn.q_proj.weight'"))
      #expect("\(error)".contains("and 4 more"))
    }
    #expect(try load(text).ignoredTensors == [])
    let fewer = try load(
      text.replacing("\"num_hidden_layers\": 3", with: "\"num_hidden_layers\": 2"))
    #expect(fewer.ignoredTensors.count == 9)
    #expect(throws: (any Error).self) {
      try load(text.replacing("\"hidden_size\": 48", with: "\"hidden_size\": 50"))
    }
  }
}
