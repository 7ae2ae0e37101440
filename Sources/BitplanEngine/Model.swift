import BitplanCheckpoint
public import BitplanCore
public import BitplanKernels
import Foundation

/// A model ready to run: an architecture, its float vectors (norms, biases, position tables), and
/// the weights of every operator.
///
/// A value: replacing an operator's weights makes another model that shares the rest.
public struct Model: Sendable {
  /// What a model is trained for, which decides how its loss under quantization is measured.
  public enum Objective: Hashable, Sendable {
    /// Next-token distributions: KL divergence in nats per token.
    case nextToken
    /// Sentence embeddings: cosine distance.
    case sentenceEmbedding
  }

  /// Which checkpoint the model came from.
  public let identity: ModelIdentity
  /// Every weight matrix, in the order of execution.
  public let operators: [OperatorDescription]
  /// One element for every operator, of the operator's shape.
  public var weights: [OperatorWeights]
  /// What the model is trained for.
  public let objective: Objective
  /// Rows of the embedding table: token ids are below this.
  public let vocabularySize: Int
  /// Longest sequence that the model was made for.
  public let maximumTokens: Int
  /// Layers: `OperatorDescription.layer` is below this.
  public let layerCount: Int
  /// SHA-256 of shapes and layer structure: what a profile's whole-model correction belongs to.
  public let architectureSHA256: String
  /// The text of its `config.json`.
  public let configurationText: String
  /// Tokens that end a generated text, from the configuration's `eos_token_id`.
  public let endTokens: [Int]
  /// Tensors of the checkpoint that the model does not use, such as a pooler.
  public let ignoredTensors: [String]

  /// The family of the model.
  package let architecture: any Architecture
  /// One matrix for every element of the architecture's `vectors`.
  package let vectors: [FloatMatrix]
  /// What turns the input of an operator just before the product, by the operator's index. No other
  /// operator reads such an input.
  package let inputRotations: [Int: Rotation]
  private let inputSources: [Int]

  /// Makes a model from values.
  ///
  /// - Parameters:
  ///   - weights: one element for every operator of `architecture`.
  ///   - vectors: one matrix for every vector of `architecture`.
  ///   - inputRotations: of operators whose weights are for a rotated input.
  /// - Throws: `EngineError` where counts or shapes disagree with the architecture.
  package init(
    _ architecture: any Architecture, name: String, sha256: String, weights: [OperatorWeights],
    vectors: [FloatMatrix], inputRotations: [Int: Rotation] = [:], configurationText: String,
    ignoredTensors: [String] = []
  ) throws(EngineError) {
    let operators = architecture.operators
    guard weights.count == operators.count else {
      throw EngineError(
        "the architecture has \(operators.count) operators, but \(weights.count) were given.")
    }
    for (description, weights) in zip(operators, weights) where description.shape != weights.shape {
      throw EngineError(
        "operator '\(description.name)' must be \(description.shape), but its weights are "
          + "\(weights.shape).")
    }
    let descriptions = architecture.vectors
    guard vectors.count == descriptions.count else {
      throw EngineError(
        "the architecture has \(descriptions.count) vectors, but \(vectors.count) were given.")
    }
    for (description, vector) in zip(descriptions, vectors)
    where description.rows != vector.rows || description.columns != vector.columns {
      throw EngineError(
        "vector '\(description.name)' must be \(description.shape), but it is "
          + "[\(vector.rows), \(vector.columns)].")
    }
    for (index, rotation) in inputRotations
    where rotation.size != operators[index].shape.inputFeatures {
      throw EngineError(
        "operator '\(operators[index].name)' has \(operators[index].shape.inputFeatures) inputs, but "
          + "they are rotated as \(rotation.size).")
    }
    self.inputRotations = inputRotations
    self.architecture = architecture
    self.operators = operators
    self.weights = weights
    self.vectors = vectors
    self.configurationText = configurationText
    self.ignoredTensors = ignoredTensors
    objective = type(of: architecture).objective
    vocabularySize = architecture.vocabularySize
    maximumTokens = architecture.maximumTokens
    layerCount = architecture.layerCount
    inputSources = architecture.inputSources
    architectureSHA256 = Self.fingerprint(architecture, operators)
    endTokens = Self.endTokens(in: configurationText)
    identity = ModelIdentity(
      name: name, sha256: sha256, architecture: type(of: architecture).modelType,
      plannedWeightCount: operators.reduce(0) { $0 + $1.shape.weightCount })
  }

  /// Another model with other weights for one operator. They must have the operator's shape.
  public func replacing(_ index: Int, with weights: OperatorWeights) -> Model {
    precondition(weights.shape == operators[index].shape, "weights must have the operator's shape")
    var result = self
    result.weights[index] = weights
    return result
  }

  /// Another model whose operators are all packed; one element for every operator.
  public func replacingAll(with operators: [PackedOperator]) -> Model {
    precondition(operators.count == weights.count, "one packed operator for every operator")
    var result = self
    for (index, packed) in operators.enumerated() {
      result = result.replacing(index, with: .packed(packed))
    }
    return result
  }

  /// Stored bytes of all packed operators, segments and row maps: what `Plan.Assignment` counts.
  /// Operators that are float count nothing.
  public var packedBytes: Int {
    weights.reduce(0) { sum, weights in
      guard case .packed(let packed) = weights else { return sum }
      let maps =
        packed.segments.count > 1
        ? Plan.Assignment.rowMapBytes(
          outputFeatures: packed.shape.outputFeatures, segmentCount: packed.segments.count) : 0
      let branch = packed.branch?.bytes.count ?? 0
      return packed.segments.reduce(sum + maps + branch) { $0 + $1.matrix.layout.storedBytes }
    }
  }

  /// Bytes of keys and values that a sequence of so many tokens leaves in the KV cache; 0 for an
  /// encoder.
  public func keyValueBytes(tokenCount: Int, format: KeyValueFormat = .float) -> Int {
    architecture.keyValueBytes(tokenCount: tokenCount, format: format)
  }

  /// The weights of one operator as float32 `[outputFeatures, inputFeatures]`; dequantized into a
  /// new matrix when they are packed.
  public func floatWeights(of index: Int) -> FloatMatrix { weights[index].floats }

  /// The first operator that reads the very same input as this one: query for query, key and
  /// value; gate for gate and up; otherwise itself. Input statistics need one of them only.
  public func inputSource(of index: Int) -> Int { inputSources[index] }

  /// Index of the operator of this name.
  public func operatorIndex(named name: String) -> Int? {
    operators.firstIndex { $0.name == name }
  }

  private static func fingerprint(
    _ architecture: any Architecture, _ operators: [OperatorDescription]
  ) -> String {
    var lines = [
      type(of: architecture).modelType, architecture.fingerprint,
      "layers \(architecture.layerCount)",
    ]
    for description in operators {
      let layer = description.layer.map { "\($0)" } ?? "-"
      lines.append("\(description.shape) \(description.role.rawValue) \(layer)")
    }
    return ArtifactFile.sha256(Array(lines.joined(separator: "\n").utf8))
  }

  private static func endTokens(in configuration: String) -> [Int] {
    let object = try? JSONSerialization.jsonObject(with: Data(configuration.utf8))
    let value = (object as? [String: Any])?["eos_token_id"]
    if let id = value as? Int { return [id] }
    return value as? [Int] ?? []
  }
}
