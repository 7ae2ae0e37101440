import BitplanCore
public import BitplanKernels
import Foundation

/// Perplexity and KL divergence of language models over windows of token ids.
///
/// Every window is a sequence of its own. A window of `n` ids gives `n − 1` predictions: the
/// distributions after each id but the last, whose next id is known. Both perplexity and KL
/// divergence are over these predictions.
public struct LanguageModelEvaluation: Sendable {
  /// Token ids, one array a sequence.
  public let windows: [[Int]]

  /// Takes sequences of at least two ids each; there must be at least one.
  public init(windows: [[Int]]) throws(EngineError) {
    guard !windows.isEmpty else {
      throw EngineError("there are no windows to evaluate on. Give at least one.")
    }
    if let short = windows.firstIndex(where: { $0.count < 2 }) {
      throw EngineError(
        "window \(short) has \(windows[short].count) tokens, but a prediction takes two. Use longer "
          + "windows.")
    }
    self.windows = windows
  }

  /// Cuts `ids` into consecutive windows of `length` without overlap, `limit` of them at most; a
  /// shorter rest is left out.
  public static func windows(of ids: [Int], length: Int, limit: Int = .max) -> [[Int]] {
    precondition(length > 0, "a window holds at least one token")
    return (0..<min(limit, ids.count / length)).map {
      Array(ids[$0 * length..<($0 + 1) * length])
    }
  }

  /// Ids of the longest window.
  public var longestWindow: Int { windows.map(\.count).max() ?? 0 }
  /// Predictions of all windows.
  public var predictionCount: Int { windows.reduce(0) { $0 + $1.count - 1 } }

  /// How well a model predicts text.
  public struct Perplexity: Hashable, Sendable {
    /// Negative log-likelihood of the next token, nats.
    public let negativeLogLikelihood: SampleSummary
    /// Predictions.
    public let predictionCount: Int
    /// `exp(mean negative log-likelihood)`.
    public var perplexity: Double { exp(negativeLogLikelihood.mean) }
  }

  /// How far a model's predictions are from a reference's.
  public struct Divergence: Hashable, Sendable {
    /// KL(reference ‖ model), nats per prediction.
    public let klDivergence: SampleSummary
    /// Mean KL of each window.
    public let windowMeans: [Double]
    /// Share of predictions whose most likely token is the reference's.
    public let topAgreement: Double
    /// The model's own perplexity on the windows.
    public let perplexity: Double
    /// The reference's perplexity on the windows.
    public let referencePerplexity: Double
    /// Predictions.
    public let predictionCount: Int
  }

  /// A reference's last hidden states for all windows, kept so that many models can be compared with
  /// it: `4 · tokens · width` bytes, in memory or wherever their loader finds them. Its distributions
  /// are made again from them, a block of tokens at a time, when they are needed: a head's product
  /// costs little beside a model's, and kept distributions would take the vocabulary instead of the
  /// width.
  public struct Reference: Sendable {
    /// Gives the last hidden states of a window.
    public typealias StateLoader = @Sendable (_ window: Int) throws(EngineError) -> FloatMatrix

    /// The model whose head turns states into logits.
    let model: Model
    /// The `[tokens, width]` of a window.
    let states: StateLoader
    /// Negative log-likelihood of every next token.
    let negativeLogLikelihoods: [[Double]]
    /// The windows it belongs to.
    let windows: [[Int]]

    /// The reference's perplexity on its windows.
    public var perplexity: Double {
      exp(SampleSummary(windows: negativeLogLikelihoods).mean)
    }
  }

  // MARK: Perplexity

  /// Perplexity of `model`.
  public func perplexity(of model: Model, _ context: KernelContext) throws(EngineError)
    -> Perplexity
  {
    try perplexity(evaluationSession(model, context))
  }

  /// Perplexity of the session's model. The session's sequence is forgotten.
  public func perplexity(_ session: Session) throws(EngineError) -> Perplexity {
    var values: [[Double]] = []
    for window in windows {
      values.append(try Self.losses(session, window, try Self.lastStates(session, window)))
    }
    return Perplexity(
      negativeLogLikelihood: SampleSummary(windows: values), predictionCount: predictionCount)
  }

  // MARK: KL divergence

  /// What is kept of `model` for all windows.
  public func reference(of model: Model, _ context: KernelContext) throws(EngineError) -> Reference
  {
    try reference(evaluationSession(model, context))
  }

  /// What is kept of the session's model for all windows.
  ///
  /// - Parameter states: the last hidden states of every window, where they are known already.
  public func reference(
    _ session: Session, states: Reference.StateLoader? = nil,
    progress: (_ windowsDone: Int) throws(EngineError) -> Void = { _ in }
  ) throws(EngineError) -> Reference {
    var kept: [FloatMatrix] = []
    var losses: [[Double]] = []
    for (index, window) in windows.enumerated() {
      let last = if let states { try states(index) } else { try Self.lastStates(session, window) }
      if states == nil { kept.append(last) }
      losses.append(try Self.losses(session, window, last))
      try progress(index + 1)
    }
    let inMemory = kept
    return Reference(
      model: session.model, states: states ?? { inMemory[$0] }, negativeLogLikelihoods: losses,
      windows: windows)
  }

  /// KL(reference ‖ model) with a kept reference.
  public func divergence(
    of model: Model, from reference: Reference, _ context: KernelContext
  ) throws(EngineError) -> Divergence {
    try divergence(evaluationSession(model, context), from: reference)
  }

  /// KL(reference ‖ the session's model) with a kept reference: what a search calls hundreds of
  /// times, assigning `session.model` in between. The session's sequence is forgotten.
  public func divergence(
    _ session: Session, from reference: Reference,
    progress: (_ windowsDone: Int) throws(EngineError) -> Void = { _ in }
  ) throws(EngineError) -> Divergence {
    guard reference.windows == windows else {
      throw EngineError(
        "the reference has \(reference.windows.count) windows of other tokens than the \(windows.count) "
          + "that are evaluated. Make the reference from the same windows.")
    }
    let head = Self.headSession(reference.model, session)
    var total = Accumulator()
    for (index, window) in windows.enumerated() {
      total.append(
        try Self.compare(session, window, head, try reference.states(index)),
        reference: reference.negativeLogLikelihoods[index])
      try progress(index + 1)
    }
    return total.divergence
  }

  /// KL(reference ‖ model), both run window by window: nothing is kept, so memory does not grow
  /// with the text.
  public func divergence(
    of model: Model, from reference: Model, _ context: KernelContext,
    progress: (_ windowsDone: Int) throws(EngineError) -> Void = { _ in }
  ) throws(EngineError) -> Divergence {
    let session = evaluationSession(model, context)
    let other = evaluationSession(reference, context)
    guard reference.vocabularySize == model.vocabularySize else {
      throw EngineError(
        "the vocabularies differ: \(reference.vocabularySize) and \(model.vocabularySize) tokens. "
          + "Compare variants of one model.")
    }
    let head = Self.headSession(reference, other)
    var total = Accumulator()
    for (index, window) in windows.enumerated() {
      let states = try Self.lastStates(other, window)
      total.append(
        try Self.compare(session, window, head, states),
        reference: try Self.losses(other, window, states))
      try progress(index + 1)
    }
    return total.divergence
  }

  // MARK: Rows

  /// The session's last hidden states of a window, `[tokens, width]`.
  private static func lastStates(
    _ session: Session, _ window: [Int]
  ) throws(EngineError) -> FloatMatrix {
    try session.hiddenStates(of: window, beforeLayer: session.model.layerCount)
  }

  private func evaluationSession(_ model: Model, _ context: KernelContext) -> Session {
    Session(model, context: context, capacity: longestWindow, isLayerwise: true)
  }

  /// A session that turns a reference's states into logits, and holds no more than a block of them.
  private static func headSession(_ model: Model, _ session: Session) -> Session {
    Session(
      model, context: session.context, capacity: min(Session.logitBlock, session.capacity),
      isLayerwise: true)
  }

  /// What one prediction amounts to.
  private struct Row: Sendable {
    var negativeLogLikelihood = 0.0
    var klDivergence = 0.0
    var agrees = false
  }

  /// Values of all windows so far.
  private struct Accumulator {
    private var klDivergences: [[Double]] = []
    private var losses: [[Double]] = []
    private var referenceLosses: [[Double]] = []
    private var agreements = 0

    mutating func append(_ rows: [Row], reference: [Double]) {
      klDivergences.append(rows.map(\.klDivergence))
      losses.append(rows.map(\.negativeLogLikelihood))
      referenceLosses.append(reference)
      agreements += rows.count { $0.agrees }
    }

    var divergence: Divergence {
      let count = klDivergences.reduce(0) { $0 + $1.count }
      return Divergence(
        klDivergence: SampleSummary(windows: klDivergences),
        windowMeans: klDivergences.map { $0.reduce(0, +) / Double($0.count) },
        topAgreement: Double(agreements) / Double(count),
        perplexity: exp(SampleSummary(windows: losses).mean),
        referencePerplexity: exp(SampleSummary(windows: referenceLosses).mean),
        predictionCount: count)
    }
  }

  /// Runs `body` for every prediction of a block of a window, on all threads.
  ///
  /// - Parameter tokens: those of the window that the block's first rows belong to.
  private static func rows(
    _ logits: FloatMatrix, _ tokens: Range<Int>, _ window: [Int], _ pool: ThreadPool,
    _ body: @Sendable (_ z: Floats, _ label: Int, _ vocabulary: Int, _ row: Int) -> Row
  ) -> [Row] {
    let vocabulary = logits.columns
    // The window's last token has no next one.
    let predictions = min(tokens.upperBound, window.count - 1) - tokens.lowerBound
    return [Row](unsafeUninitializedCapacity: max(0, predictions)) { buffer, count in
      count = max(0, predictions)
      buffer.initialize(repeating: Row())
      let results = Results(rows: buffer)
      RowWork.forEach(count, elementsPerRow: 20 * vocabulary, pool) { part in
        logits.withAddress { logits in
          for row in part {
            results.rows[row] = body(
              logits + row * vocabulary, window[tokens.lowerBound + row + 1], vocabulary, row)
          }
        }
      }
    }
  }

  /// Destination of a parallel loop: every thread writes its own rows.
  private struct Results: @unchecked Sendable {
    let rows: UnsafeMutableBufferPointer<Row>
  }

  /// Negative log-likelihoods of a window whose last hidden states are known.
  private static func losses(
    _ session: Session, _ window: [Int], _ states: FloatMatrix
  ) throws(EngineError) -> [Double] {
    var result: [Double] = []
    try session.forEachLogits(of: states) { tokens, logits in
      result += rows(logits, tokens, window, session.context.pool) { z, label, vocabulary, _ in
        Row(negativeLogLikelihood: LogitRows.logSumExp(z, vocabulary) - Double(z[label]))
      }.map(\.negativeLogLikelihood)
    }
    return result
  }

  /// The session's model beside a reference's last hidden states, block by block.
  private static func compare(
    _ session: Session, _ window: [Int], _ head: Session, _ reference: FloatMatrix
  ) throws(EngineError) -> [Row] {
    let states = try lastStates(session, window)
    let pool = session.context.pool
    var result: [Row] = []
    try session.forEachLogits(of: states) { tokens, logits throws(EngineError) in
      let expected = try head.logits(of: reference, tokens)
      result += rows(logits, tokens, window, pool) { z, label, vocabulary, row in
        expected.withAddress { expected in
          let p = expected + row * vocabulary
          let best = LogitRows.argmax(p, vocabulary)
          LogitRows.logSoftmax(p, into: p, vocabulary)
          let logSumExp = LogitRows.logSumExp(z, vocabulary)
          return Row(
            negativeLogLikelihood: logSumExp - Double(z[label]),
            klDivergence: LogitRows.divergence(
              reference: p, z, vocabulary, logSumExp: logSumExp),
            agrees: LogitRows.argmax(z, vocabulary) == best)
        }
      }
    }
    return result
  }
}
