package import BitplanCheckpoint
import BitplanCore

/// Sizes and switches of a decoder with RMSNorm, rotary positions, grouped-query attention and
/// SwiGLU: the family of Llama, Mistral and Qwen2.
package struct Decoder: Hashable, Sendable {
  /// Rows of the embedding table and of the head.
  package var vocabularySize: Int
  /// Features of the residual stream.
  package var width: Int
  /// Features between the projections of the MLP.
  package var intermediateSize: Int
  /// Layers.
  package var layerCount: Int
  /// Query heads.
  package var headCount: Int
  /// Key and value heads; divides ``headCount``.
  package var keyValueHeadCount: Int
  /// Features of a head; even.
  package var headSize: Int
  /// Longest sequence.
  package var maximumTokens: Int
  /// Added to the mean square in RMSNorm.
  package var epsilon: Float
  /// Base of the rotary frequencies.
  package var ropeTheta: Double
  /// Whether the embedding table is also the head.
  package var tiedHead: Bool
  /// Whether query, key and value projections have biases.
  package var queryKeyValueBias: Bool
  /// Whether the attention's output projection has a bias.
  package var outputBias: Bool
  /// Whether the MLP's projections have biases.
  package var mlpBias: Bool

  /// Sizes made by hand; they are checked as those of a file are.
  package init(
    vocabularySize: Int, width: Int, intermediateSize: Int, layerCount: Int, headCount: Int,
    keyValueHeadCount: Int, headSize: Int, maximumTokens: Int, epsilon: Float = 1e-5,
    ropeTheta: Double = 10_000, tiedHead: Bool = false, queryKeyValueBias: Bool = false,
    outputBias: Bool = false, mlpBias: Bool = false
  ) throws(EngineError) {
    self.vocabularySize = vocabularySize
    self.width = width
    self.intermediateSize = intermediateSize
    self.layerCount = layerCount
    self.headCount = headCount
    self.keyValueHeadCount = keyValueHeadCount
    self.headSize = headSize
    self.maximumTokens = maximumTokens
    self.epsilon = epsilon
    self.ropeTheta = ropeTheta
    self.tiedHead = tiedHead
    self.queryKeyValueBias = queryKeyValueBias
    self.outputBias = outputBias
    self.mlpBias = mlpBias
    try check()
  }

  /// Reads what all families of decoders share, under the names of transformers.
  ///
  /// - Parameter usesSlidingWindow: what `use_sliding_window` is where it is not given.
  package init(
    _ configuration: ModelConfiguration, queryKeyValueBias: Bool, outputBias: Bool, mlpBias: Bool,
    usesSlidingWindow: Bool = true
  ) throws {
    let activation = try configuration.string("hidden_act", default: "silu")
    guard activation == "silu" else {
      throw EngineError(
        "hidden_act is '\(activation)', but a \(configuration.modelType) is only run with 'silu'. "
          + "Use a checkpoint that has it.")
    }
    let width = try configuration.integer("hidden_size", in: 1...1_048_576)
    let headCount = try configuration.integer("num_attention_heads", in: 1...65_536)
    let maximumTokens = try configuration.integer("max_position_embeddings", in: 1...16_777_216)
    // Up to the window's length, a sliding window changes nothing: longer sequences are refused.
    let window = try configuration.integer(
      "sliding_window", in: 0...Int.max, default: maximumTokens)
    let usesWindow = try configuration.boolean(
      "use_sliding_window", default: usesSlidingWindow)
    let partial = try configuration.number("partial_rotary_factor", default: 1)
    guard partial == 1 else {
      throw EngineError(
        "partial_rotary_factor is \(partial), but rotary positions are only run on whole heads. "
          + "Use a checkpoint with factor 1.")
    }
    try self.init(
      vocabularySize: configuration.integer("vocab_size", in: 1...16_777_216),
      width: width,
      intermediateSize: configuration.integer("intermediate_size", in: 1...4_194_304),
      layerCount: configuration.integer("num_hidden_layers", in: 1...4096),
      headCount: headCount,
      keyValueHeadCount: configuration.integer(
        "num_key_value_heads", in: 1...65_536, default: headCount),
      headSize: configuration.integer(
        "head_dim", in: 1...65_536, default: max(1, width / headCount)),
      maximumTokens: usesWindow && window > 0 ? min(window, maximumTokens) : maximumTokens,
      epsilon: Float(configuration.number("rms_norm_eps", default: 1e-6)),
      ropeTheta: configuration.ropeTheta(),
      tiedHead: configuration.boolean("tie_word_embeddings", default: false),
      queryKeyValueBias: queryKeyValueBias, outputBias: outputBias, mlpBias: mlpBias)
  }

  private func check() throws(EngineError) {
    let sizes = [
      vocabularySize, width, intermediateSize, layerCount, headCount, keyValueHeadCount, headSize,
      maximumTokens,
    ]
    guard sizes.allSatisfy({ $0 > 0 }) else {
      throw EngineError("a decoder has sizes \(sizes), but each must be positive.")
    }
    guard headCount % keyValueHeadCount == 0 else {
      throw EngineError(
        "\(headCount) query heads do not divide among \(keyValueHeadCount) key and value heads. "
          + "Check num_attention_heads and num_key_value_heads.")
    }
    guard headSize % 2 == 0 else {
      throw EngineError(
        "head_dim is \(headSize), but rotary positions turn pairs of features. Check head_dim.")
    }
    guard epsilon > 0, epsilon < 1 else {
      throw EngineError("rms_norm_eps is \(epsilon), but it must lie between 0 and 1.")
    }
    guard ropeTheta > 0, ropeTheta.isFinite else {
      throw EngineError("rope_theta is \(ropeTheta), but it must be positive and finite.")
    }
  }

  /// Features of all query heads.
  package var queryFeatures: Int { headCount * headSize }
  /// Features of all key heads, and of all value heads.
  package var keyValueFeatures: Int { keyValueHeadCount * headSize }
}
