internal import BitplanCore
internal import BitplanEngine
internal import BitplanKernels
internal import BitplanQuantizers
internal import BitplanSensitivity

/// Equivalence transforms around the other verbs: measuring chooses them, packing makes them again.
extension Workbench {
  /// Seed of every rotation.
  private static let rotationSeed: UInt64 = 1
  /// Share of the loss that a set of transforms must save to be taken without being asked for.
  private static let worthwhileShare = 0.03

  /// `source` with transforms applied: the same function, other weights, the same identity.
  ///
  /// - Parameter windows: the calibration tokens that scalings are found on.
  func transformed(
    _ source: ModelSource, _ transforms: [EquivalenceTransform]?,
    windows: @escaping () throws -> TokenWindows
  ) throws -> ModelSource {
    guard let transforms, !transforms.isEmpty else { return source }
    let model = try keptRotation.model(of: source.model.identity, transforms) {
      progress.begin("transform", total: transforms.count)
      let model = try modelTransforms(windows).apply(transforms, to: source.model)
      progress.end("\(transforms.count) equivalence transforms")
      return model
    }
    return source.replacing(model)
  }

  /// The transforms that a selection amounts to for a model, and the model that they make.
  func chosen(
    _ selection: TransformSelection, _ source: ModelSource, _ windows: TokenWindows,
    formats: [WeightFormat], quantizer: OperatorQuantizer.Method, seed: UInt64
  ) throws -> (source: ModelSource, transforms: [EquivalenceTransform]) {
    if let families = selection.families {
      return try made(families, source, windows, formats, seed)
    }
    let candidates: [[TransformSelection.Family]] = [
      [.rotateOnline], [.scale], [.scale, .rotateOnline], [.rotate, .rotateValues],
      [.scale, .rotate, .rotateValues],
    ]
    let meter = LossMeter(model: source.model, windows: windows.windows, context: context)
    try meter.makeReference { _, _ in try cancellation.check() }
    var best = (
      loss: try trialLoss(source, meter, windows, formats, quantizer) * (1 - Self.worthwhileShare),
      source: source, transforms: [EquivalenceTransform]()
    )
    for families in candidates where Self.canTake(families, source.model) {
      let (candidate, transforms) = try made(families, source, windows, formats, seed)
      guard !transforms.isEmpty else { continue }
      let loss = try trialLoss(candidate, meter, windows, formats, quantizer)
      if loss < best.loss { best = (loss, candidate, transforms) }
    }
    return (best.source, best.transforms)
  }

  /// Whether a model's structure allows the families: encoders and tied heads keep their residual
  /// stream, and an input with a large odd factor is not turned.
  private static func canTake(_ families: [TransformSelection.Family], _ model: Model) -> Bool {
    if families.contains(.rotateOnline), !model.canRotateDownInput { return false }
    return !families.contains(.rotate)
      || model.objective == .nextToken
        && !model.operators.contains { $0.role == .tiedEmbedding }
  }

  private func made(
    _ families: [TransformSelection.Family], _ source: ModelSource, _ windows: TokenWindows,
    _ formats: [WeightFormat], _ seed: UInt64
  ) throws -> (source: ModelSource, transforms: [EquivalenceTransform]) {
    let model = source.model
    var list: [EquivalenceTransform] = []
    if families.contains(.rotate) {
      list.append(.rotation(.residual, layer: nil, seed: Self.rotationSeed))
    }
    if families.contains(.rotateValues) {
      list += (0..<model.layerCount).map { .rotation(.value, layer: $0, seed: Self.rotationSeed) }
    }
    if families.contains(.rotateOnline) {
      list += (0..<model.layerCount).map {
        .rotation(.downInput, layer: $0, seed: Self.rotationSeed)
      }
    }
    if families.contains(.kroneckerOnline) {
      list += (0..<model.layerCount).map { .kronecker(layer: $0, seed: Self.rotationSeed) }
    }
    if families.contains(.scale) {
      let rotated = try modelTransforms({ windows }).rotated(model, list)
      let chooser = TransformChooser(
        model: rotated, statistics: try statistics(of: rotated, windows),
        gradients: try GradientStatistics.gather(
          model: rotated, windows: windows.windows, seed: seed, context: context
        ) { _ in try cancellation.check() },
        context: context)
      // What up writes cannot be scaled where down's input is turned.
      var slots: Set<EquivalenceTransform.Slot> = [.attentionInput, .mlpInput, .value]
      if !list.contains(where: \.isOnline) { slots.insert(.up) }
      progress.begin("scale", total: slots.count * model.layerCount)
      let choices = try chooser.perSlot(
        ScalingRule.grid, slots: slots,
        format: Self.trialFormats(formats)[0]
      ) { done, total in
        try cancellation.check()
        progress.advance(done, of: total)
      }
      list += choices.map(\.transform).filter { $0.rule?.isIdentity == false }
      progress.end("\(choices.count) slots")
    }
    if families.contains(.smoothKeys) {
      list += model.scalingSlots.filter { $0.slot == .queryKey }.map {
        .scaling(.queryKey, layer: $0.layer, .smoothedKeys)
      }
    }
    return (try transformed(source, list) { windows }, list)
  }

  private func modelTransforms(_ windows: @escaping () throws -> TokenWindows) -> ModelTransforms {
    ModelTransforms(context: context) { model in try statistics(of: model, windows()) }
  }

  private func statistics(
    of model: Model, _ windows: TokenWindows
  ) throws -> [OperatorStatistics] {
    try LossMeter(model: model, windows: windows.windows, context: context)
      .prepare { _, _ in try cancellation.check() }
  }

  /// The formats that transforms are judged at: those nearest to 4 and to 3 bits.
  private static func trialFormats(_ formats: [WeightFormat]) -> [WeightFormat] {
    [(4, 128), (3, 64)].compactMap { width, group in
      formats.min {
        let (a, b) = ($0, $1)
        return (abs(a.bitWidth - width), abs(a.groupSize - group))
          < (abs(b.bitWidth - width), abs(b.groupSize - group))
      }
    }
  }

  /// Geometric mean of the losses of all operators in one format, over the trial formats.
  private func trialLoss(
    _ source: ModelSource, _ meter: LossMeter, _ windows: TokenWindows, _ formats: [WeightFormat],
    _ quantizer: OperatorQuantizer.Method
  ) throws -> Double {
    let model = source.model
    let statistics = try CalibrationStatistics.gather(
      LossMeter(model: model, windows: windows.windows, context: context),
      windows: windows.windows, wideWindows: windows.windows, quantizer: quantizer,
      gradientSeed: nil, context: context, begin: { _ in },
      progress: { _, _ in try cancellation.check() })
    let variants = VariantStore(
      model: model, statistics: statistics.operators,
      quantizer: OperatorQuantizer(quantizer, pool: context.pool), maximumBytes: 0)
    let trials = Self.trialFormats(formats)
    var product = 1.0
    for format in trials {
      try cancellation.check()
      let packed = model.operators.indices.map { variants.variant($0, format) }
      product *= max(try meter.loss(model.replacingAll(with: packed)), 1e-12)
    }
    return trials.count == 2 ? product.squareRoot() : product
  }
}
