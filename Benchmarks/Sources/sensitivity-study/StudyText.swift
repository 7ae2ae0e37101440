import BitplanCore
import BitplanEngine
import BitplanKernels
import BitplanQuantizers
import BitplanSensitivity
import Foundation

/// A text that sensitivity is measured on: its losses, its statistics, and codes found with them.
final class StudyText {
  let windows: TokenWindows
  let meter: LossMeter
  let statistics: CalibrationStatistics
  let variants: VariantStore
  let tokenShares: [Double]
  /// Processor seconds for statistics and gradients.
  let seconds: Double

  init(
    _ model: Model, windows: TokenWindows, wide: TokenWindows, whole: TokenWindows,
    context: KernelContext
  ) throws {
    self.windows = windows
    meter = LossMeter(model: model, windows: windows.windows, context: context)
    let begin = ProcessorTime.now
    statistics = try CalibrationStatistics.gather(
      meter, windows: windows.windows, wideWindows: wide.windows, quantizer: .errorFeedback,
      gradientSeed: 1, context: context, begin: { _ in }, progress: { _, _ in })
    seconds = ProcessorTime.now - begin
    variants = VariantStore(
      model: model, statistics: statistics.operators,
      quantizer: OperatorQuantizer(.errorFeedback, pool: context.pool))
    tokenShares = whole.tokenShares(vocabularySize: model.vocabularySize)
  }

  /// Windows that the model writes by seeded sampling at temperature 1, each from a random token.
  static func written(by model: Model, count: Int, context: KernelContext) throws -> TokenWindows {
    let session = Session(model, context: context, capacity: 512)
    let windows = try (0..<count).map { window in
      let seed = 0x5E1F + UInt64(window)
      var generator = SeededGenerator(state: seed)
      var tokens = [Int.random(in: 0..<model.vocabularySize, using: &generator)]
      var sampler = try Sampler(Sampler.Options(temperature: 1, seed: seed))
      session.reset()
      while tokens.count < 512 {
        let logits = try session.forward([tokens[tokens.count - 1]], lastOnly: true)
        tokens.append(sampler.sample(logits))
      }
      return tokens
    }
    return TokenWindows(name: "self", windows: windows)
  }

  /// Packed operators as a plan says.
  func packed(_ model: Model, _ operators: [Plan.Assignment], _ context: KernelContext) throws
    -> [PackedOperator]
  {
    let quantizer = OperatorQuantizer(.errorFeedback, pool: context.pool)
    return try operators.enumerated().map { index, assignment in
      if assignment.segments.count == 1 {
        return variants.variant(index, assignment.segments[0].format)
      }
      return try PackedOperator(
        shape: assignment.shape,
        segments: assignment.segments.map { segment in
          (
            PackedMatrix(
              packing: quantizer.quantize(
                model.floatWeights(of: index), rows: segment.rows, as: segment.format,
                statistics.operators[index].input)), segment.rows
          )
        })
    }
  }
}

/// Seconds of work of all threads so far: what else the machine does meanwhile does not count.
enum ProcessorTime {
  static var now: Double {
    var time = timespec()
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time)
    return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
  }
}
