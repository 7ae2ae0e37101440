public import BitplanCore
public import BitplanEngine
public import BitplanKernels
internal import BitplanQuantizers

/// From a list of transforms to the model that they make.
///
/// Seeded rotations come first and change what the features are, so the rest is found on the rotated
/// model. Kronecker products and scalings of different slots do not meet: all are found from one set of
/// statistics.
public struct ModelTransforms {
  private let context: KernelContext
  private let statistics: (Model) throws -> [OperatorStatistics]

  /// - Parameter statistics: input statistics of a model on the calibration tokens; called once,
  ///   and only where there are scalings or Kronecker products.
  public init(
    context: KernelContext, statistics: @escaping (Model) throws -> [OperatorStatistics]
  ) {
    self.context = context
    self.statistics = statistics
  }

  /// The same function as `model`, transformed.
  ///
  /// - Throws: `EngineError` where the model has no such slot or cannot be transformed.
  public func apply(_ transforms: [EquivalenceTransform], to model: Model) throws -> Model {
    var result = try rotated(model, transforms)
    guard transforms.contains(where: { $0.kind != .rotation }) else { return result }
    let base = result
    let known = try statistics(base)
    for transform in transforms where transform.kind == .kronecker {
      result = try turned(result, transform, known)
    }
    let slots = result.scalingSlots
    for transform in transforms where transform.kind == .scaling {
      guard let rule = transform.rule,
        let slot = slots.first(where: { $0.slot == transform.slot && $0.layer == transform.layer })
      else { throw Self.unknown(transform, model) }
      result = try result.scaled(slot, by: factors(rule, slot, base, known))
    }
    return result
  }

  /// A Kronecker product for the input of one layer's `down`, applied.
  ///
  /// - Parameter known: statistics of the model without it.
  private func turned(
    _ model: Model, _ transform: EquivalenceTransform, _ known: [OperatorStatistics]
  ) throws -> Model {
    guard let layer = transform.layer, let seed = transform.seed else {
      throw Self.unknown(transform, model)
    }
    let down = try model.downOperator(layer: layer)
    let sizes = try Rotation.kroneckerSizes(for: model.operators[down])
    let rotation = Rotation.spreading(
      known[down].samples, slow: sizes.slow, seed: seed, context.pool)
    return try model.rotatingDownInput(layer: layer, by: rotation, context.pool)
  }

  /// The seeded rotations of a list, applied.
  public func rotated(_ model: Model, _ transforms: [EquivalenceTransform]) throws -> Model {
    var result = model
    for transform in transforms where transform.kind == .rotation {
      guard let seed = transform.seed else { throw Self.unknown(transform, model) }
      switch (transform.slot, transform.layer) {
      case (.residual, nil): result = try result.rotatingResidual(seed: seed, context.pool)
      case (.value, let layer?):
        result = try result.rotatingValues(layer: layer, seed: seed, context.pool)
      case (.downInput, let layer?):
        result = try result.rotatingDownInput(layer: layer, seed: seed, context.pool)
      default: throw Self.unknown(transform, model)
      }
    }
    return result
  }

  /// The factors that a rule gives for a slot of `model`.
  ///
  /// - Parameter known: statistics of `model`, one for every operator.
  public func factors(
    _ rule: ScalingRule, _ slot: ScalingSlot, _ model: Model, _ known: [OperatorStatistics]
  ) -> [Float] {
    let found: SlotStatistics
    if let reader = slot.readers.first {
      found = SlotStatistics(
        samples: known[reader].samples, factorOfFeature: slot.factorOfInput,
        factorCount: slot.factorCount, readers: slot.readers.map { model.floatWeights(of: $0) })
    } else if let producer = slot.producer {
      found = SlotStatistics(
        samples: model.producedMagnitudes(slot, inputs: known[producer].samples, context.pool),
        factorOfFeature: Array(0..<slot.factorCount), factorCount: slot.factorCount, readers: [])
    } else {
      preconditionFailure("a slot has readers or a producer")
    }
    return rule.factors(found)
  }

  private static func unknown(_ transform: EquivalenceTransform, _ model: Model) -> EngineError {
    let layer = transform.layer.map { " of layer \($0)" } ?? ""
    return EngineError(
      "model '\(model.identity.name)' has no \(transform.kind.rawValue) at slot "
        + "'\(transform.slot.rawValue)'\(layer). Make the plan again for this model.")
  }
}
