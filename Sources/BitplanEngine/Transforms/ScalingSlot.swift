public import BitplanCore
public import BitplanKernels

/// A place where every feature may be divided by a factor of its own and multiplied by it again
/// further on, with no change to what the model computes.
///
/// Features that must share a factor do: the query heads of one key and value head, and the two
/// halves of a rotary pair.
public struct ScalingSlot: Sendable {
  /// Which slot.
  public let slot: EquivalenceTransform.Slot
  /// Its layer.
  public let layer: Int
  /// Factors that can be chosen.
  public let factorCount: Int
  /// Operators whose inputs are scaled; they all read the same input. None for queries and keys.
  public let readers: [Int]
  /// The factor of every input feature of the readers.
  public let factorOfInput: [Int]
  /// The operator whose outputs are divided, if it is one; a norm otherwise.
  public let producer: Int?
  /// The factor of every output feature of the producer.
  public let factorOfOutput: [Int]
  /// The producer's bias.
  public let producerBias: FloatMatrix?
  /// Everything that is multiplied or divided.
  let folds: [Fold]

  /// One tensor that takes part: its element, row or column `i` is scaled by factor `factors[i]`.
  struct Fold: Sendable {
    enum Target: Sendable {
      case vector(Int)
      case rows(Int)
      case columns(Int)
    }

    let target: Target
    let factors: [Int]
    /// Whether it is divided by the factors.
    let divides: Bool
  }
}

extension Model {
  /// Every slot that this model can be scaled at, layer by layer. An input that is turned while the
  /// model runs has no features left that anything writes alone, so it cannot be scaled.
  public var scalingSlots: [ScalingSlot] {
    allScalingSlots.filter { $0.readers.allSatisfy { inputRotations[$0] == nil } }
  }

  private var allScalingSlots: [ScalingSlot] {
    let builder = SlotBuilder(model: self)
    if let architecture = architecture as? any DecoderArchitecture {
      return (0..<layerCount).flatMap { builder.slots(of: architecture.decoder, layer: $0) }
    }
    if let architecture = architecture as? Bert {
      return (0..<layerCount).flatMap { builder.slots(of: architecture, layer: $0) }
    }
    return []
  }

  /// The same function with the features of `slot` divided by `factors` where they are produced and
  /// multiplied where they are read.
  ///
  /// - Parameter factors: `[slot.factorCount]`, positive and finite.
  /// - Throws: `EngineError` for packed weights and factors out of range.
  public func scaled(_ slot: ScalingSlot, by factors: [Float]) throws(EngineError) -> Model {
    precondition(factors.count == slot.factorCount, "one factor for every scalable feature")
    guard factors.allSatisfy({ $0 > 0 && $0.isFinite && (1 / $0).isFinite }) else {
      throw EngineError(
        "a factor for slot '\(slot.slot.rawValue)' of layer \(slot.layer) is not positive and "
          + "finite. Calibrate on other text, or leave the transform out.")
    }
    var (weights, vectors) = (weights, vectors)
    for fold in slot.folds {
      let values = fold.factors.map { fold.divides ? 1 / factors[$0] : factors[$0] }
      switch fold.target {
      case .vector(let index):
        let old = vectors[index].values
        vectors[index] = FloatMatrix(
          rows: vectors[index].rows, columns: vectors[index].columns,
          values: zip(old, values).map { $0 * $1 })
      case .rows(let index):
        weights[index] = .float(
          Self.scaled(try floatMatrix(weights[index], index)) { row, _ in values[row] })
      case .columns(let index):
        weights[index] = .float(
          Self.scaled(try floatMatrix(weights[index], index)) { _, column in values[column] })
      }
    }
    return try replacingTensors(weights: weights, vectors: vectors)
  }

  /// The same architecture with other tensors; where the model came from stays as it is.
  func replacingTensors(
    weights: [OperatorWeights], vectors: [FloatMatrix], inputRotations: [Int: Rotation]? = nil
  ) throws(EngineError) -> Model {
    try Model(
      architecture, name: identity.name, sha256: identity.sha256, weights: weights,
      vectors: vectors, inputRotations: inputRotations ?? self.inputRotations,
      configurationText: configurationText, ignoredTensors: ignoredTensors)
  }

  /// The float weights of an operator; transforms come before quantization.
  func floatMatrix(_ weights: OperatorWeights, _ index: Int) throws(EngineError) -> FloatMatrix {
    if case .packed = weights {
      throw EngineError(
        "operator '\(operators[index].name)' is packed, but transforms change float weights. "
          + "Transform the float checkpoint.")
    }
    return weights.floats
  }

  private static func scaled(
    _ matrix: FloatMatrix, _ factor: (_ row: Int, _ column: Int) -> Float
  ) -> FloatMatrix {
    let result = FloatMatrix(rows: matrix.rows, columns: matrix.columns)
    withAddresses(matrix, result) { source, target in
      for row in 0..<matrix.rows {
        for column in 0..<matrix.columns {
          let place = row * matrix.columns + column
          target[place] = source[place] * factor(row, column)
        }
      }
    }
    return result
  }
}

extension Model {
  /// How large the features of a slot's producer get on sampled inputs of it,
  /// `[samples, slot.factorCount]`: the root of the squares of all features that share a factor,
  /// which a rotary position does not change.
  ///
  /// - Parameter inputs: inputs of the producer, `[samples, inputFeatures]`.
  public func producedMagnitudes(
    _ slot: ScalingSlot, inputs: FloatMatrix, _ pool: ThreadPool
  ) -> FloatMatrix {
    guard let producer = slot.producer else {
      preconditionFailure("the norm that writes this slot reads no sampled input")
    }
    let weights = floatWeights(of: producer)
    let outputs = FloatMatrix(rows: inputs.rows, columns: weights.rows)
    FloatProduct.multiply(inputs, tokenCount: inputs.rows, by: weights, into: outputs, pool)
    let result = FloatMatrix(rows: inputs.rows, columns: slot.factorCount)
    let bias = slot.producerBias?.values
    withAddresses(outputs, result) { outputs, result in
      for row in 0..<inputs.rows {
        let target = result + row * slot.factorCount
        for (feature, factor) in slot.factorOfOutput.enumerated() {
          let value = outputs[row * weights.rows + feature] + (bias?[feature] ?? 0)
          target[factor] += value * value
        }
        for factor in 0..<slot.factorCount { target[factor] = target[factor].squareRoot() }
      }
    }
    return result
  }
}
