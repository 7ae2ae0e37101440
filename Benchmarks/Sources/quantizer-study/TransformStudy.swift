import BitplanCore
import BitplanEngine
import BitplanQuantizers
import BitplanSensitivity
import StudyRecords

/// Scalings and rotations, alone and together: what each slot gains by its readers' own error, and
/// what a uniform plan loses on held-out text.
struct TransformStudy {
  let bench: Bench

  private typealias Slot = EquivalenceTransform.Slot
  private static let norms: Set<Slot> = [.attentionInput, .mlpInput]
  private static let all: Set<Slot> = [.attentionInput, .mlpInput, .value, .up]

  func run(_ formats: [WeightFormat]) throws -> [Record] {
    try formats.flatMap { try slots($0) + losses($0) }
  }

  // MARK: Slots

  private func slots(_ format: WeightFormat) throws -> [Record] {
    let families: [(String, [ScalingRule])] = [
      ("mean powers (AWQ)", ScalingRule.meanPowers), ("smoothing 0.5", [.smoothing(0.5)]),
      ("smoothing, best strength", ScalingRule.migrations), ("outliers (DGQ)", [.outliers]),
      ("grid", ScalingRule.grid),
    ]
    print("\n\(format): error of a slot's readers relative to no scaling, summed over layers")
    let order: [Slot] = [.attentionInput, .mlpInput, .value, .up]
    Table.line([""] + order.map(\.rawValue), widths: [28, 15, 15, 15, 15])
    var records: [Record] = []
    let chooser = TransformChooser(
      model: bench.model, statistics: bench.statistics, gradients: bench.gradients,
      context: bench.context)
    for (name, rules) in families {
      let choices = try chooser.perSlot(rules, slots: Self.all, format: format)
      let gains = order.map { slot in
        let ofSlot = choices.filter { $0.transform.slot == slot }
        return ofSlot.reduce(0) { $0 + $1.error } / ofSlot.reduce(0) { $0 + $1.plainError }
      }
      Table.line([name] + gains.map(Table.number), widths: [28, 15, 15, 15, 15])
      for (slot, gain) in zip(order, gains) {
        records.append(
          Record(
            metric: "relativeReaderError", value: gain, unit: "1",
            conditions: [
              "format": format.identifier, "rules": name, "slot": slot.rawValue,
            ]))
      }
    }
    return records
  }

  // MARK: Whole model

  private func losses(_ format: WeightFormat) throws -> [Record] {
    print("\n\(format), every operator: KL on held-out text, and what gradients predict")
    var records: [Record] = []
    var plain = 0.0
    func report(_ name: String, _ model: Model) throws {
      let statistics = try bench.statistics(of: model)
      let gradients = try GradientStatistics.gather(
        model: model, windows: bench.calibration.windows, seed: 1, context: bench.context
      ) { _ in }
      let loss = try bench.uniformLoss(model, format, statistics)
      if plain == 0 { plain = loss }
      let predicted = bench.predictedLoss(model, format, statistics, gradients).values.reduce(0, +)
      Table.line(
        [name, Table.number(loss), Table.number(loss / plain), Table.number(predicted)],
        widths: [40, 10, 10, 10])
      records.append(
        Record(
          metric: "klDivergenceNatsPerToken", value: loss, unit: "nats/token",
          conditions: ["format": format.identifier, "transforms": name],
          reference: ["untransformed": plain, "predictedByGradients": predicted]))
    }
    try report("none", bench.model)
    for (name, rules, slots) in Self.scalings {
      try report(name, scaled(bench.model, rules, slots, format))
    }
    try report("one strength for the model, norms", wholeModel(format))
    for seed: UInt64 in 1...3 {
      try report("rotation of the stream, seed \(seed)", rotated(seed: seed, values: false))
    }
    try report("rotation of the values", rotated(seed: nil, values: true))
    let turned = try rotated(seed: 1, values: true)
    try report("rotation of both", turned)
    try report(
      "rotation of both, then mean powers", scaled(turned, ScalingRule.meanPowers, Self.all, format)
    )
    let stream = try rotated(seed: 1, values: false)
    try report(
      "rotation of the stream, then grid", scaled(stream, ScalingRule.grid, Self.all, format))
    return records
  }

  private static let scalings: [(String, [ScalingRule], Set<Slot>)] = [
    ("mean powers (AWQ), norms", ScalingRule.meanPowers, norms),
    ("mean powers (AWQ), all slots", ScalingRule.meanPowers, all),
    ("smoothing 0.5, norms", [.smoothing(0.5)], norms),
    ("outliers (DGQ), all slots", [.outliers], all),
    ("grid, norms", ScalingRule.grid, norms),
    ("grid, up", ScalingRule.grid, [.up]),
    ("grid, value", ScalingRule.grid, [.value]),
    ("grid, all slots", ScalingRule.grid, all),
  ]

  private func scaled(
    _ model: Model, _ rules: [ScalingRule], _ slots: Set<Slot>, _ format: WeightFormat
  ) throws -> Model {
    let statistics = try bench.statistics(of: model)
    let gradients = try GradientStatistics.gather(
      model: model, windows: bench.calibration.windows, seed: 1, context: bench.context
    ) { _ in }
    let chooser = TransformChooser(
      model: model, statistics: statistics, gradients: gradients, context: bench.context)
    let choices = try chooser.perSlot(rules, slots: slots, format: format).map(\.transform)
    return try ModelTransforms(context: bench.context) { _ in statistics }.apply(choices, to: model)
  }

  private func rotated(seed: UInt64?, values: Bool) throws -> Model {
    var list = seed.map { [EquivalenceTransform.rotation(.residual, layer: nil, seed: $0)] } ?? []
    if values {
      list += (0..<bench.model.layerCount).map { .rotation(.value, layer: $0, seed: 1) }
    }
    return try ModelTransforms(context: bench.context) { _ in [] }.apply(list, to: bench.model)
  }

  /// One strength for all norms, chosen by the loss on four calibration windows.
  private func wholeModel(_ format: WeightFormat) throws -> Model {
    let windows = Array(bench.calibration.windows.prefix(4))
    let meter = LossMeter(model: bench.model, windows: windows, context: bench.context)
    try meter.makeReference { _, _ in }
    let chooser = TransformChooser(
      model: bench.model, statistics: bench.statistics, gradients: nil, context: bench.context)
    let rules = stride(from: 0.1, through: 0.9, by: 0.2).map { ScalingRule.smoothing($0) }
    let best = try chooser.wholeModel(rules, slots: Self.norms) { candidate in
      try bench.uniformLoss(candidate, format, bench.statistics(of: candidate), meter)
    }
    return try ModelTransforms(context: bench.context) { _ in bench.statistics }
      .apply(best.transforms, to: bench.model)
  }
}
