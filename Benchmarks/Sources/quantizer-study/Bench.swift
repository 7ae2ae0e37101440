import BitplanCheckpoint
import BitplanCore
import BitplanEngine
import BitplanKernels
import BitplanQuantizers
import BitplanSensitivity
import Foundation
import StudySupport

/// The model, its texts, and what every study asks of them.
final class Bench {
  let model: Model
  let context: KernelContext
  let calibration: TokenWindows
  /// The held-out text.
  let held: LanguageModelEvaluation
  /// Losses on held-out text, against the float model.
  let meter: LossMeter
  let statistics: [OperatorStatistics]
  let gradients: GradientStatistics

  init(path: String, windowCount: Int) throws {
    let opened = try StudyModel(path: path)
    (model, context) = (opened.model, opened.context)
    calibration = try opened.calibration(8, .spread)
    held = try LanguageModelEvaluation(windows: opened.heldOut(windowCount).windows)
    meter = try opened.heldOutMeter(held.windows)
    statistics = try Self.statistics(of: model, calibration, context)
    gradients = try GradientStatistics.gather(
      model: model, windows: calibration.windows, seed: 1, context: context
    ) { _ in }
  }

  /// Input statistics of a model on the calibration tokens.
  func statistics(of model: Model) throws -> [OperatorStatistics] {
    try Self.statistics(of: model, calibration, context)
  }

  private static func statistics(
    of model: Model, _ calibration: TokenWindows, _ context: KernelContext
  ) throws -> [OperatorStatistics] {
    try LossMeter(model: model, windows: calibration.windows, context: context).prepare { _, _ in }
  }

  /// Held-out loss of `model` with every operator in `format`, rounded to nearest.
  func uniformLoss(
    _ model: Model, _ format: WeightFormat, _ statistics: [OperatorStatistics],
    _ meter: LossMeter? = nil
  ) throws -> Double {
    let variants = VariantStore(
      model: model, statistics: statistics,
      quantizer: OperatorQuantizer(.roundToNearest, pool: context.pool), maximumBytes: 0)
    let packed = model.operators.indices.map { variants.variant($0, format) }
    return try (meter ?? self.meter).loss(model.replacingAll(with: packed))
  }

  /// `Σ ½ g² E[(ΔW x)²]` of all linear operators of `model` in `format`: the loss that gradients
  /// predict, nats per token.
  func predictedLoss(
    _ model: Model, _ format: WeightFormat, _ statistics: [OperatorStatistics],
    _ gradients: GradientStatistics
  ) -> [Int: Double] {
    let variants = VariantStore(
      model: model, statistics: statistics,
      quantizer: OperatorQuantizer(.roundToNearest, pool: context.pool), maximumBytes: 0)
    var result: [Int: Double] = [:]
    for (index, description) in model.operators.enumerated() where description.role == .linear {
      let errors = OutputError.meanSquared(
        original: model.floatWeights(of: index),
        quantized: variants.variant(index, format).dequantized(),
        samples: statistics[index].samples, pool: context.pool)
      result[index] = zip(gradients.meanSquares[index], errors).reduce(0) {
        $0 + 0.5 * gradients.tokensPerUnit * $1.0 * $1.1
      }
    }
    return result
  }
}

/// Text columns.
enum Table {
  static func line(_ cells: [String], widths: [Int]) {
    let padded = zip(cells, widths).enumerated().map { index, pair in
      index == 0
        ? pair.0.padding(toLength: pair.1, withPad: " ", startingAt: 0)
        : String(repeating: " ", count: max(0, pair.1 - pair.0.count)) + pair.0
    }
    print(padded.joined(separator: " "))
    fflush(nil)
  }

  static func number(_ value: Double) -> String { String(format: "%.5f", value) }
}
