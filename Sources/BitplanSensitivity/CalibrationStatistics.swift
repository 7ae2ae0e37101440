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
  ///   - begin: called with the name of each stage.
  ///   - progress: called with the steps of the stage that are done and their number; may throw to stop.
  public static func gather(
    _ meter: LossMeter, windows: [[Int]], wideWindows: [[Int]],
    quantizer: OperatorQuantizer.Method, gradientSeed: UInt64?, context: KernelContext,
    begin: (String) -> Void, progress: (_ done: Int, _ total: Int) throws -> Void
  ) throws -> CalibrationStatistics {
    begin("statistics")
    var statistics = try meter.prepare(progress: progress)
    // What follows has buffers of its own.
    meter.releaseBuffers()
    var gradients: GradientStatistics?
    if let gradientSeed {
      begin("gradients")
      gradients = try GradientStatistics.gather(
        model: meter.model, windows: windows, seed: gradientSeed, context: context
      ) { try progress($0, windows.count) }
    }
    if quantizer.usesCurvature {
      begin("curvature")
      try addCurvature(to: &statistics, meter.model, wideWindows, context, progress)
    }
    return CalibrationStatistics(operators: statistics, gradients: gradients)
  }

  /// Gives every operator the curvature of its input over `windows`, and its mean squares; operators
  /// that read the same input share one curvature.
  private static func addCurvature(
    to statistics: inout [OperatorStatistics], _ model: Model, _ windows: [[Int]],
    _ context: KernelContext, _ progress: (_ done: Int, _ total: Int) throws -> Void
  ) throws {
    let spool = try StatisticsSpool()
    let session = Session(
      model, context: context, capacity: windows.map(\.count).max() ?? 1,
      chunk: Session.logitBlock, isLayerwise: true)
    var moments = InputMoments(model, detail: .full)
    session.observer = { index, input, count in moments.observe(index, input, count) }
    let total = windows.count * (model.layerCount + 1)

    /// Sets the curvatures of operators aside, whose inputs have all been seen.
    func finish(_ operators: [Int]) throws {
      var shared: [Int: @Sendable () -> InputCurvature] = [:]
      for index in operators {
        let source = model.inputSource(of: index)
        if shared[source] == nil, let products = moments.meanProducts(of: index) {
          shared[source] = try spool.store(
            InputCurvature(takingOver: products, pool: context.pool))
        }
        statistics[index].input = InputStatistics(
          meanSquares: moments.meanSquares(of: index) ?? statistics[index].input.meanSquares,
          loading: shared[source])
      }
      moments = InputMoments(model, detail: .full)
    }

    let states = try LayerSweep(session: session, windows: windows).run { layer, window in
      try progress(layer * windows.count + window + 1, total)
    } layerDone: { layer in
      try finish(model.operators.indices.filter { model.operators[$0].layer == layer })
    }
    // What is left reads the last layer's output.
    let rest = model.operators.indices.filter { model.operators[$0].layer == nil }
    guard rest.contains(where: { model.operators[$0].isMultiplied }) else { return }
    for index in 0..<states.count {
      try session.forEachLogits(of: states.load(index)) { _, _ in }
      try progress(model.layerCount * windows.count + index + 1, total)
    }
    try finish(Array(rest))
  }
}
