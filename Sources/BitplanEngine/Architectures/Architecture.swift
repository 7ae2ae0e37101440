package import BitplanCheckpoint
package import BitplanCore
package import BitplanKernels

/// A float tensor that stays float: a norm's weight, a bias, a table of positions.
package struct VectorDescription: Hashable, Sendable {
  /// The checkpoint's tensor name.
  package let name: String
  /// The tensor's shape: one or two dimensions.
  package let shape: [Int]

  /// Describes a tensor.
  package init(name: String, shape: [Int]) {
    self.name = name
    self.shape = shape
  }

  /// Rows of the matrix that holds it: 1 for a vector.
  package var rows: Int { shape.count == 2 ? shape[0] : 1 }
  /// Columns of the matrix that holds it.
  package var columns: Int { shape.last ?? 1 }
}

/// What a family of models says to be loaded and run: its operators, its vectors, its forward pass.
///
/// One file for each `model_type`; adding a family means adding a file and naming its type in
/// ``Architectures/all``.
package protocol Architecture: Sendable {
  /// The `model_type` of its `config.json`.
  static var modelType: String { get }
  /// What its models are trained for.
  static var objective: Model.Objective { get }

  /// Reads and checks the configuration.
  ///
  /// - Parameter tensorNames: names in the checkpoint, where a family stores its tensors under
  ///   more than one prefix.
  init(_ configuration: ModelConfiguration, tensorNames: Set<String>) throws

  /// Rows of the embedding table.
  var vocabularySize: Int { get }
  /// Longest sequence.
  var maximumTokens: Int { get }
  /// Layers.
  var layerCount: Int { get }
  /// Every weight matrix, in the order of execution.
  var operators: [OperatorDescription] { get }
  /// Every tensor that stays float.
  var vectors: [VectorDescription] { get }
  /// For every operator, the first operator that reads the very same input.
  var inputSources: [Int] { get }
  /// The operator that ends a layer's MLP: its input is what the activation function writes.
  func downOperator(layer: Int) -> Int
  /// Everything besides shapes that changes what a pass computes or costs, such as head counts.
  var fingerprint: String { get }

  /// Bytes of keys and values that a sequence of so many tokens leaves in the KV cache.
  func keyValueBytes(tokenCount: Int, format: KeyValueFormat) -> Int

  /// Buffers of one sequence, at most `capacity` tokens long.
  ///
  /// - Parameter vectors: one matrix for every element of ``vectors``.
  func makeForwardPass(
    vectors: [FloatMatrix], products: MatrixProducts, capacity: Int
  ) -> any ForwardPass

  /// As ``makeForwardPass(vectors:products:capacity:)``, with buffers as `options` say. Encoders keep
  /// no keys and take a sequence whole.
  func makeForwardPass(
    vectors: [FloatMatrix], products: MatrixProducts, capacity: Int, options: PassOptions
  ) -> any ForwardPass

  /// Reverse mode of one sequence, at most `capacity` tokens long.
  ///
  /// - Parameters:
  ///   - vectors: one matrix for every element of ``vectors``.
  ///   - weights: one float matrix for every operator.
  ///   - inputRotations: what turns the input of an operator, by its index.
  func makeBackwardSteps(
    vectors: [FloatMatrix], weights: [FloatMatrix], inputRotations: [Int: Rotation],
    context: KernelContext, capacity: Int
  ) -> any BackwardSteps
}

extension Architecture {
  /// Encoders keep no keys and values.
  package func keyValueBytes(tokenCount: Int, format: KeyValueFormat) -> Int { 0 }
  package func makeForwardPass(
    vectors: [FloatMatrix], products: MatrixProducts, capacity: Int, options: PassOptions
  ) -> any ForwardPass {
    makeForwardPass(vectors: vectors, products: products, capacity: capacity)
  }
}

/// What the buffers of a language model's pass hold.
package struct PassOptions: Hashable, Sendable {
  /// How keys and values are kept.
  package var cache = KeyValueFormat.float
  /// Most tokens that go through a layer together.
  package var chunk = DecoderPass.largestChunk
  /// Whether sequences go through one layer whole before the next begins: keys and values of one
  /// layer are then enough.
  package var isLayerwise = false
}

/// One sequence on its way through a model, layer by layer.
///
/// A chunk of tokens is started, sent through layers, and finished. The state between two layers
/// is ``hidden`` alone, so that a pass can be restarted from any layer.
package protocol ForwardPass: AnyObject {
  /// Most tokens of a chunk.
  var chunkCapacity: Int { get }
  /// `[chunkCapacity, width]`: input of the next layer.
  var hidden: FloatMatrix { get }
  /// Looks `tokens` up, writing the first rows of ``hidden``.
  ///
  /// - Parameter position: tokens of the sequence before this chunk.
  func start(_ tokens: [Int], position: Int)
  /// Sends the first `count` rows of ``hidden`` through one layer.
  func runLayer(_ layer: Int, count: Int, position: Int)
  /// Language models: logits of `rows` of ``hidden``, written to the first rows of `output`.
  /// Encoders: the sentence embedding of all of `rows`, written to the first row of `output`.
  func finish(rows: Range<Int>, into output: FloatMatrix)
}

/// The families of models that can be run.
package enum Architectures {
  /// One type for each `model_type`.
  package static let all: [any Architecture.Type] = [
    Llama.self, Mistral.self, Qwen2.self, Bert.self,
  ]

  /// Finds the family of a configuration and lets it read the rest.
  package static func make(
    _ configuration: ModelConfiguration, tensorNames: Set<String>
  ) throws -> any Architecture {
    guard let type = all.first(where: { $0.modelType == configuration.modelType }) else {
      throw EngineError(
        "model_type '\(configuration.modelType)' is not supported. This version runs "
          + all.map { $0.modelType }.joined(separator: ", ") + ".")
    }
    return try type.init(configuration, tensorNames: tensorNames)
  }
}
