import BitplanCore
import BitplanEngine
import BitplanKernels
import BitplanQuantizers
import BitplanSensitivity

/// The float model after a change that keeps its function, with what calibration tells about it.
final class TechniqueModel {
  let model: Model
  /// Losses on the calibration windows, against this model.
  let meter: LossMeter
  let statistics: CalibrationStatistics
  /// What every plan pays for 8-bit activations.
  let activationCost: Double

  init(_ change: Technique.Change, _ bench: TechniqueBench) throws {
    model = try Self.changed(change, bench)
    meter = LossMeter(model: model, windows: bench.calibration.windows, context: bench.context)
    statistics = try CalibrationStatistics.gather(
      meter, windows: bench.calibration.windows, wideWindows: bench.wide.windows,
      quantizer: .errorFeedback, gradientSeed: 1, context: bench.context, begin: { _ in },
      progress: { _, _ in })
    activationCost = max(0, try meter.loss(meter.withQuantizedActivations()))
  }

  private static func changed(
    _ change: Technique.Change, _ bench: TechniqueBench
  ) throws -> Model {
    var model = bench.model
    if change == .rotated || change == .rotatedAndScaled {
      let rotations =
        [EquivalenceTransform.rotation(.residual, layer: nil, seed: 1)]
        + (0..<model.layerCount).map { .rotation(.value, layer: $0, seed: 1) }
      model = try ModelTransforms(context: bench.context) { _ in [] }.apply(rotations, to: model)
    }
    guard change == .scaled || change == .rotatedAndScaled else { return model }
    let windows = bench.calibration.windows
    let statistics = try LossMeter(model: model, windows: windows, context: bench.context)
      .prepare { _, _ in }
    let gradients = try GradientStatistics.gather(
      model: model, windows: windows, seed: 1, context: bench.context
    ) { _ in }
    let format = WeightFormat.all.first { $0.identifier == "int4_g128" } ?? .f16
    let choices = try TransformChooser(
      model: model, statistics: statistics, gradients: gradients, context: bench.context
    ).perSlot(ScalingRule.grid, slots: [.attentionInput, .mlpInput, .value, .up], format: format)
    return try ModelTransforms(context: bench.context) { _ in statistics }
      .apply(choices.map(\.transform).filter { $0.rule?.isIdentity == false }, to: model)
  }
}
