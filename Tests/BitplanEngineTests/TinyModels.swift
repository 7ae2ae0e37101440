import BitplanCheckpoint
import BitplanCore
import BitplanEngine
import BitplanKernels
import Testing

/// Small random models in memory, and contexts to run them.
enum Tiny {
  /// Kernels of the best instruction set on so many threads.
  static func context(
    threads: Int = 2, _ instructionSet: InstructionSet = .best
  ) throws -> KernelContext {
    KernelContext(
      kernels: try #require(KernelSet(instructionSet)), pool: ThreadPool(threadCount: threads))
  }

  /// Uniform values in ±`scale` around `centre`.
  static func matrix(
    _ rows: Int, _ columns: Int, scale: Float, centre: Float = 0,
    _ generator: inout SeededGenerator
  ) -> FloatMatrix {
    FloatMatrix(
      rows: rows, columns: columns,
      values: (0..<rows * columns).map { _ in
        centre + Float.random(in: -scale...scale, using: &generator)
      })
  }

  /// Random weights for an architecture: norms near 1, biases near 0.
  static func model(
    _ architecture: any Architecture, configuration: String = "{}", seed: UInt64 = 7
  ) throws -> Model {
    var generator = SeededGenerator(state: seed)
    let weights = architecture.operators.map { description in
      let shape = description.shape
      let scale =
        description.role == .embedding || description.role == .tiedEmbedding
        ? 1 : (3 / Float(shape.inputFeatures)).squareRoot()
      return OperatorWeights.float(
        matrix(shape.outputFeatures, shape.inputFeatures, scale: scale, &generator))
    }
    let vectors = architecture.vectors.map { description in
      let isScale = description.name.lowercased().contains("norm.weight")
      return matrix(
        description.rows, description.columns, scale: 0.2, centre: isScale ? 1 : 0, &generator)
    }
    return try Model(
      architecture, name: "tiny", sha256: String(repeating: "0", count: 64), weights: weights,
      vectors: vectors, configurationText: configuration)
  }

  /// A Llama with grouped queries whose sizes divide by nothing convenient.
  static func llama(
    layers: Int = 2, tied: Bool = false, biases: Bool = false, maximumTokens: Int = 700,
    vocabulary: Int = 61, seed: UInt64 = 7
  ) throws -> Model {
    let decoder = try Decoder(
      vocabularySize: vocabulary, width: 48, intermediateSize: 80, layerCount: layers, headCount: 4,
      keyValueHeadCount: 2, headSize: 10, maximumTokens: maximumTokens, tiedHead: tied,
      queryKeyValueBias: biases, outputBias: biases, mlpBias: biases)
    let text = """
      {"model_type": "llama", "vocab_size": \(vocabulary), "hidden_size": 48, \
      "intermediate_size": 80, "num_hidden_layers": \(layers), "num_attention_heads": 4, \
      "num_key_value_heads": 2, "head_dim": 10, "max_position_embeddings": \(maximumTokens), \
      "rms_norm_eps": 1e-05, "rope_theta": 10000.0, "tie_word_embeddings": \(tied), \
      "attention_bias": \(biases), "mlp_bias": \(biases), "hidden_act": "silu", "eos_token_id": [3, 5]}
      """
    return try model(Llama(decoder), configuration: text, seed: seed)
  }

  /// A BERT whose tensors carry the prefix `bert.`.
  static func bert(prefix: String = "bert.") throws -> Model {
    let text = """
      {"model_type": "bert", "vocab_size": 53, "hidden_size": 36, "intermediate_size": 70, \
      "num_hidden_layers": 2, "num_attention_heads": 3, "max_position_embeddings": 90, \
      "layer_norm_eps": 1e-12, "hidden_act": "gelu"}
      """
    return try model(
      Bert(
        vocabularySize: 53, width: 36, intermediateSize: 70, layerCount: 2, headCount: 3,
        maximumTokens: 90, prefix: prefix),
      configuration: text)
  }

  /// Random ids below `vocabulary`.
  static func tokens(_ count: Int, vocabulary: Int = 61, seed: UInt64 = 11) -> [Int] {
    var generator = SeededGenerator(state: seed)
    return (0..<count).map { _ in Int.random(in: 0..<vocabulary, using: &generator) }
  }

  /// Largest absolute difference, or infinity where the counts differ.
  static func distance(_ a: [Float], _ b: [Float]) -> Float {
    guard a.count == b.count else { return .infinity }
    return zip(a, b).reduce(0) { largest, pair in
      // A NaN must not compare as close.
      let difference = abs(pair.0 - pair.1)
      return difference.isNaN ? .infinity : max(largest, difference)
    }
  }

  /// Largest magnitude.
  static func magnitude(_ values: [Float]) -> Float { values.reduce(0) { max($0, abs($1)) } }
}
