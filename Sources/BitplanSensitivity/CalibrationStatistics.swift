internal import BitplanCore
internal import BitplanEngine
public import BitplanKernels
public import BitplanQuantizers

/// All that calibration tokens tell about a model: what codes are found with, and what errors cost.
public struct CalibrationStatistics {
  /// Inputs of every operator.
  public let operators: [OperatorStatistics]
  /// Gradients at every operator's output; `nil` where none were asked for.
  public let gradients: GradientStatistics?

  /// Gathers statistics.
  ///
  /// - Parameters:
  ///   - meter: its reference is made on the way.
  ///   - windows: the meter's windows: gradients are taken on them.
  ///   - wideWindows: more windows, for products of input features: a matrix of a thousand features
  ///     takes several thousand tokens to know.
  ///   - quantizer: how codes will be found.
  ///   - gradientSeed: also gather gradients, for salience, on labels drawn with it.
  ///   - begin: called with the name of each stage and its number of steps.
  ///   - progress: called with the steps done; may throw to stop.
  public static func gather(
    _ meter: LossMeter, windows: [[Int]], wideWindows: [[Int]],
    quantizer: OperatorQuantizer.Method, gradientSeed: UInt64?, context: KernelContext,
    begin: (String, Int) -> Void, progress: (Int) throws -> Void
  ) throws -> CalibrationStatistics {
    begin("statistics", windows.count)
    let statistics = try meter.prepare(progress: progress)
    let needsCurvature = quantizer == .errorFeedback
    var gradients: GradientStatistics?
    if let gradientSeed {
      begin("gradients", windows.count)
      gradients = try GradientStatistics.gather(
        model: meter.model, windows: windows, seed: gradientSeed, context: context,
        progress: progress)
    }
    guard needsCurvature else {
      return CalibrationStatistics(operators: statistics, gradients: gradients)
    }
    begin("curvature", wideWindows.count)
    let moments = try moments(meter.model, wideWindows, context, progress)
    return CalibrationStatistics(
      operators: OperatorStatistics.withCurvature(
        statistics, moments, meter.model, pool: context.pool),
      gradients: gradients)
  }

  /// Products of input features over `windows`.
  private static func moments(
    _ model: Model, _ windows: [[Int]], _ context: KernelContext, _ progress: (Int) throws -> Void
  ) throws -> InputMoments {
    let moments = InputMoments(model, detail: .full)
    let session = Session(model, context: context, capacity: windows.map(\.count).max() ?? 1)
    session.observer = { index, input, count in moments.observe(index, input, count) }
    for (index, window) in windows.enumerated() {
      switch model.objective {
      case .nextToken:
        session.reset()
        _ = try session.forward(window, lastOnly: false)
      case .sentenceEmbedding: _ = try session.embed(window)
      }
      try progress(index + 1)
    }
    return moments
  }
}
