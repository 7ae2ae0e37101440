package import BitplanCheckpoint
package import BitplanCore
package import BitplanKernels

/// BERT encoders (Devlin et al. 2018, arXiv:1810.04805) used for sentence embeddings: mean over
/// the tokens of the last layer, then length 1, as sentence-transformers runs all-MiniLM-L6-v2.
package struct Bert: Architecture {
  package static let modelType = "bert"
  package static let objective = Model.Objective.sentenceEmbedding

  package let vocabularySize: Int
  package let maximumTokens: Int
  package let layerCount: Int
  /// Features of the residual stream.
  package let width: Int
  /// Features between the two projections of the feed-forward part.
  package let intermediateSize: Int
  /// Heads; divides ``width``.
  package let headCount: Int
  /// Rows of the table of token types; this engine uses row 0.
  package let tokenTypeCount: Int
  /// Added to the variance in LayerNorm.
  package let epsilon: Float
  /// What precedes every tensor name: empty or `bert.`.
  package let prefix: String

  /// Sizes made by hand; they are checked as those of a file are.
  package init(
    vocabularySize: Int, width: Int, intermediateSize: Int, layerCount: Int, headCount: Int,
    maximumTokens: Int, tokenTypeCount: Int = 2, epsilon: Float = 1e-12, prefix: String = ""
  ) throws(EngineError) {
    self.vocabularySize = vocabularySize
    self.width = width
    self.intermediateSize = intermediateSize
    self.layerCount = layerCount
    self.headCount = headCount
    self.maximumTokens = maximumTokens
    self.tokenTypeCount = tokenTypeCount
    self.epsilon = epsilon
    self.prefix = prefix
    guard headCount > 0, width > 0, width % headCount == 0 else {
      throw EngineError(
        "hidden_size \(width) does not divide among \(headCount) attention heads. Check "
          + "hidden_size and num_attention_heads.")
    }
    guard epsilon > 0, epsilon < 1 else {
      throw EngineError("layer_norm_eps is \(epsilon), but it must lie between 0 and 1.")
    }
  }

  package init(_ configuration: ModelConfiguration, tensorNames: Set<String>) throws {
    for (key, supported) in [("hidden_act", "gelu"), ("position_embedding_type", "absolute")] {
      let value = try configuration.string(key, default: supported)
      guard value == supported else {
        throw EngineError(
          "\(key) is '\(value)', but a bert is only run with '\(supported)'. Use a checkpoint "
            + "that has it.")
      }
    }
    guard try !configuration.boolean("is_decoder", default: false) else {
      throw EngineError("is_decoder is true, but a bert is only run as an encoder.")
    }
    try self.init(
      vocabularySize: configuration.integer("vocab_size", in: 1...16_777_216),
      width: configuration.integer("hidden_size", in: 1...1_048_576),
      intermediateSize: configuration.integer("intermediate_size", in: 1...4_194_304),
      layerCount: configuration.integer("num_hidden_layers", in: 1...4096),
      headCount: configuration.integer("num_attention_heads", in: 1...65_536),
      maximumTokens: configuration.integer("max_position_embeddings", in: 1...16_777_216),
      tokenTypeCount: configuration.integer("type_vocab_size", in: 1...65_536, default: 2),
      epsilon: Float(configuration.number("layer_norm_eps", default: 1e-12)),
      prefix: tensorNames.contains("bert.embeddings.word_embeddings.weight") ? "bert." : "")
  }

  package var operators: [OperatorDescription] {
    func shape(_ outputs: Int, _ inputs: Int) -> MatrixShape {
      MatrixShape(outputFeatures: outputs, inputFeatures: inputs)
    }
    var result = [
      OperatorDescription(
        name: prefix + "embeddings.word_embeddings", shape: shape(vocabularySize, width),
        role: .embedding, layer: nil)
    ]
    for layer in 0..<layerCount {
      for (place, name) in Self.linearNames.enumerated() {
        let outputs = place == 4 ? intermediateSize : width
        let inputs = place == 5 ? intermediateSize : width
        result.append(
          OperatorDescription(
            name: prefix + "encoder.layer.\(layer).\(name)", shape: shape(outputs, inputs),
            role: .linear, layer: layer))
      }
    }
    return result
  }

  /// The operators of a layer in their order.
  static let linearNames = [
    "attention.self.query", "attention.self.key", "attention.self.value",
    "attention.output.dense", "intermediate.dense", "output.dense",
  ]

  package var vectors: [VectorDescription] {
    var result: [VectorDescription] = []
    func table(_ name: String, _ shape: [Int]) {
      result.append(VectorDescription(name: prefix + name, shape: shape))
    }
    table("embeddings.position_embeddings.weight", [maximumTokens, width])
    table("embeddings.token_type_embeddings.weight", [tokenTypeCount, width])
    table("embeddings.LayerNorm.weight", [width])
    table("embeddings.LayerNorm.bias", [width])
    for layer in 0..<layerCount {
      for (place, name) in Self.linearNames.enumerated() {
        table("encoder.layer.\(layer).\(name).bias", [place == 4 ? intermediateSize : width])
      }
      for norm in ["attention.output.LayerNorm", "output.LayerNorm"] {
        table("encoder.layer.\(layer).\(norm).weight", [width])
        table("encoder.layer.\(layer).\(norm).bias", [width])
      }
    }
    return result
  }

  package var inputSources: [Int] {
    let layer = [0, 0, 0, 3, 4, 5]
    return operators.indices.map { index in
      guard index > 0 else { return index }
      let (number, place) = (index - 1).quotientAndRemainder(dividingBy: layer.count)
      return 1 + number * layer.count + layer[place]
    }
  }

  package func downOperator(layer: Int) -> Int { (layer + 1) * Self.linearNames.count }

  package var fingerprint: String { "heads \(headCount)" }

  package func makeForwardPass(
    vectors: [FloatMatrix], products: MatrixProducts, capacity: Int
  ) -> any ForwardPass {
    BertPass(
      self, vectors: NamedVectors(self.vectors, vectors), products: products, capacity: capacity)
  }

  package func makeBackwardSteps(
    vectors: [FloatMatrix], weights: [FloatMatrix], inputRotations: [Int: Rotation],
    context: KernelContext, capacity: Int
  ) -> any BackwardSteps {
    BertBackward(
      self, vectors: NamedVectors(self.vectors, vectors), weights: weights,
      inputRotations: inputRotations, context: context, capacity: capacity)
  }
}
