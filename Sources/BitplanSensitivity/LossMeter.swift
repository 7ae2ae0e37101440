public import BitplanCore
public import BitplanEngine
public import BitplanKernels

/// The loss of variants of one model on fixed token windows: KL divergence from the float model
/// for a language model, cosine distance to its embeddings for an encoder.
public final class LossMeter {
  /// A loss with its uncertainty, and perplexity where there is one.
  public struct Report: Sendable {
    /// Mean loss in the metric's unit.
    public let mean: Double
    /// Standard error of the mean, windows taken as independent.
    public let standardError: Double
    /// The variant's perplexity.
    public let perplexity: Double?
    /// The float model's perplexity.
    public let referencePerplexity: Double?
  }

  private enum Reference {
    case languageModel(LanguageModelEvaluation, LanguageModelEvaluation.Reference)
    case encoder(EncoderEvaluation, [[Float]])
  }

  /// The float model.
  public let model: Model
  /// What the losses are.
  public let metric: SensitivityTable.Metric
  /// How variants keep keys and values; the float model keeps them in float.
  public var keyValueFormat = KeyValueFormat.float
  private let windows: [[Int]]
  private let context: KernelContext
  private var buffers: Session?
  private var reference: Reference?

  /// Measures variants of `model` on `windows`.
  public init(model: Model, windows: [[Int]], context: KernelContext) {
    self.model = model
    self.windows = windows
    metric = model.objective == .nextToken ? .klDivergenceNatsPerToken : .cosineDistance
    self.context = context
  }

  private var session: Session {
    if let buffers { return buffers }
    let made = Session(
      model, context: context, capacity: windows.map(\.count).max() ?? 1,
      chunk: Session.logitBlock, isLayerwise: true)
    buffers = made
    return made
  }

  /// Gives the buffers of the passes back until a pass needs them again.
  public func releaseBuffers() { buffers = nil }

  /// Sequences measured on.
  public var windowCount: Int { windows.count }

  /// Runs the float model once and keeps its predictions.
  ///
  /// - Parameter progress: called with the steps done and their number; may throw to stop.
  public func makeReference(progress: (_ done: Int, _ total: Int) throws -> Void) throws {
    try run(collector: nil, progress: progress)
  }

  /// Runs the float model once: keeps its predictions and gathers statistics of every operator's
  /// input.
  ///
  /// - Parameter progress: called with the steps done and their number; may throw to stop.
  public func prepare(
    progress: (_ done: Int, _ total: Int) throws -> Void
  ) throws -> [OperatorStatistics] {
    let collector = StatisticsCollector(
      model: model, expectedTokens: windows.reduce(0) { $0 + $1.count },
      spool: try StatisticsSpool())
    session.observer = { index, input, count in collector.observe(index, input, count) }
    defer { session.observer = nil }
    let gathered = try run(collector: collector, progress: progress)
    return model.operators.indices.map { index in
      guard let statistics = gathered[index] else {
        preconditionFailure("every operator belongs to a layer or to none")
      }
      return statistics
    }
  }

  @discardableResult
  private func run(
    collector: StatisticsCollector?, progress: (_ done: Int, _ total: Int) throws -> Void
  ) throws -> [Int: OperatorStatistics] {
    session.model = model
    session.keyValueFormat = .float
    var gathered: [Int: OperatorStatistics] = [:]
    let total = windows.count * (model.layerCount + 1)
    let swept = try LayerSweep(session: session, windows: windows).run { layer, window in
      try progress(layer * windows.count + window + 1, total)
    } layerDone: { layer in
      guard let collector else { return }
      let operators = model.operators.indices.filter { model.operators[$0].layer == layer }
      gathered.merge(try collector.finish(Array(operators))) { first, _ in first }
    }
    switch model.objective {
    case .nextToken:
      let evaluation = try LanguageModelEvaluation(windows: windows)
      reference = .languageModel(
        evaluation, try evaluation.reference(session, states: swept.loader))
    case .sentenceEmbedding:
      let evaluation = try EncoderEvaluation(sentences: windows)
      let last = model.layerCount
      reference = .encoder(
        evaluation,
        try windows.indices.map {
          try session.embed(from: swept.load($0), beforeLayer: last)
        })
    }
    try progress(total, total)
    if let collector {
      let rest = model.operators.indices.filter { gathered[$0] == nil }
      gathered.merge(try collector.finish(Array(rest))) { first, _ in first }
    }
    return gathered
  }

  /// Mean loss of a variant.
  public func loss(_ variant: Model) throws -> Double { try report(variant).mean }

  /// Loss of a variant with its uncertainty. ``prepare(progress:)`` must have run.
  public func report(_ variant: Model) throws -> Report {
    session.model = variant
    session.keyValueFormat = keyValueFormat
    switch reference {
    case .languageModel(let evaluation, let kept):
      let divergence = try evaluation.divergence(session, from: kept)
      return Report(
        mean: divergence.klDivergence.mean,
        standardError: divergence.klDivergence.standardErrorOverWindows,
        perplexity: divergence.perplexity, referencePerplexity: divergence.referencePerplexity)
    case .encoder(let evaluation, let embeddings):
      let distance = try evaluation.distance(session, from: embeddings).cosineDistance
      return Report(
        mean: distance.mean, standardError: distance.standardErrorOverWindows, perplexity: nil,
        referencePerplexity: nil)
    case nil:
      preconditionFailure("prepare() makes the reference")
    }
  }

  /// The float weights with activations rounded to 8 bits in groups of `groupSize`.
  public func withQuantizedActivations(groupSize: Int = 128) -> Model {
    var result = model
    for (index, description) in model.operators.enumerated() where description.isMultiplied {
      result.weights[index] = .float(model.floatWeights(of: index), activationGroupSize: groupSize)
    }
    return result
  }
}
