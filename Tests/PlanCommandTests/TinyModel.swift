import BitplanCore
import BitplanTestSupport
import Foundation

/// A random Llama of two layers with the bundled tokenizer: every verb runs on it in a second or two.
enum TinyModel {
  static let (width, feedForward, layers, vocabulary) = (32, 64, 2, 4096)

  /// Writes the model's folder with calibration and evaluation texts.
  static func write(to folder: URL, seed: UInt64 = 1) throws {
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    try weights(seed).write(to: folder.appending(path: "model.safetensors"))
    let configuration: [String: Any] = [
      "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": width,
      "intermediate_size": feedForward, "num_hidden_layers": layers, "num_attention_heads": 4,
      "num_key_value_heads": 2, "head_dim": 8, "vocab_size": vocabulary, "rms_norm_eps": 1e-5,
      "rope_theta": 10000.0, "max_position_embeddings": 512, "hidden_act": "silu",
      "tie_word_embeddings": false, "bos_token_id": 0, "eos_token_id": 1,
    ]
    try JSONSerialization.data(withJSONObject: configuration, options: [.sortedKeys])
      .write(to: folder.appending(path: "config.json"))
    try FileManager.default.copyItem(
      at: Fixtures.docsLlama.appending(path: "tokenizer.json"),
      to: folder.appending(path: "tokenizer.json"))
    for name in ["calibration.txt", "evaluation.txt"] {
      let text = try String(contentsOf: Fixtures.docsLlama.appending(path: name), encoding: .utf8)
      try Data(text.prefix(24_000).utf8).write(to: folder.appending(path: name))
    }
  }

  private static func weights(_ seed: UInt64) throws -> Data {
    var shapes: [(String, [Int])] = [
      ("model.embed_tokens.weight", [vocabulary, width]), ("lm_head.weight", [vocabulary, width]),
      ("model.norm.weight", [width]),
    ]
    for layer in 0..<layers {
      let name = "model.layers.\(layer)."
      shapes += [
        (name + "self_attn.q_proj.weight", [32, width]),
        (name + "self_attn.k_proj.weight", [16, width]),
        (name + "self_attn.v_proj.weight", [16, width]),
        (name + "self_attn.o_proj.weight", [width, 32]),
        (name + "mlp.gate_proj.weight", [feedForward, width]),
        (name + "mlp.up_proj.weight", [feedForward, width]),
        (name + "mlp.down_proj.weight", [width, feedForward]),
        (name + "input_layernorm.weight", [width]),
        (name + "post_attention_layernorm.weight", [width]),
      ]
    }
    var generator = SeededGenerator(state: seed)
    var header: [String: Any] = [:]
    var data = Data()
    for (name, shape) in shapes.sorted(by: { $0.0 < $1.0 }) {
      let begin = data.count
      for _ in 0..<shape.reduce(1, *) {
        let value: Float = shape.count == 1 ? 1 : Float.random(in: -0.4...0.4, using: &generator)
        withUnsafeBytes(of: value.bitPattern.littleEndian) { data.append(contentsOf: $0) }
      }
      header[name] = ["dtype": "F32", "shape": shape, "data_offsets": [begin, data.count]]
    }
    let json = try JSONSerialization.data(withJSONObject: header, options: [.sortedKeys])
    var file = Data()
    withUnsafeBytes(of: UInt64(json.count).littleEndian) { file.append(contentsOf: $0) }
    return file + json + data
  }
}
