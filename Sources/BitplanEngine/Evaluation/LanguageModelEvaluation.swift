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

  /// A reference's log-probabilities for all windows, kept so that many models can be compared
  /// with it: `4 · predictionCount · vocabularySize` bytes.
  public struct Reference: Sendable {
    /// One `[predictions, vocabulary]` matrix of log-probabilities for every window.
    let logProbabilities: [FloatMatrix]
    /// Most likely token of every prediction of every window.
    let best: [[Int]]
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
    try perplexity(Session(model, context: context, capacity: longestWindow))
  }

  /// Perplexity of the session's model. The session's sequence is forgotten.
  public func perplexity(_ session: Session) throws(EngineError) -> Perplexity {
    var values: [[Double]] = []
    for window in windows {
      let logits = try run(session, window)
      let rows = Self.rows(logits, window, session.context.pool) { z, label, vocabulary, _ in
        Row(negativeLogLikelihood: LogitRows.logSumExp(z, vocabulary) - Double(z[label]))
      }
      values.append(rows.map(\.negativeLogLikelihood))
    }
    return Perplexity(
      negativeLogLikelihood: SampleSummary(windows: values), predictionCount: predictionCount)
  }

  // MARK: KL divergence

  /// Log-probabilities of `model` for all windows.
  public func reference(of model: Model, _ context: KernelContext) throws(EngineError) -> Reference
  {
    try reference(Session(model, context: context, capacity: longestWindow))
  }

  /// Log-probabilities of the session's model for all windows.
  public func reference(
    _ session: Session, progress: (_ windowsDone: Int) throws(EngineError) -> Void = { _ in }
  ) throws(EngineError) -> Reference {
    var matrices: [FloatMatrix] = []
    var best: [[Int]] = []
    var losses: [[Double]] = []
    for (index, window) in windows.enumerated() {
      let matrix = FloatMatrix(rows: window.count - 1, columns: session.model.vocabularySize)
      let rows = try Self.logProbabilities(try run(session, window), window, into: matrix, session)
      matrices.append(matrix)
      best.append(rows.map(\.best))
      losses.append(rows.map(\.negativeLogLikelihood))
      try progress(index + 1)
    }
    return Reference(
      logProbabilities: matrices, best: best, negativeLogLikelihoods: losses, windows: windows)
  }

  /// KL(reference ‖ model) with a kept reference.
  public func divergence(
    of model: Model, from reference: Reference, _ context: KernelContext
  ) throws(EngineError) -> Divergence {
    try divergence(
      Session(model, context: context, capacity: longestWindow), from: reference)
  }

  /// KL(reference ‖ the session's model) with a kept reference: what a search calls hundreds of
  /// times, assigning `session.model` in between. The session's sequence is forgotten.
  public func divergence(
    _ session: Session, from reference: Reference,
    progress: (_ windowsDone: Int) throws(EngineError) -> Void = { _ in }
  ) throws(EngineError) -> Divergence {
    try divergence(from: reference, session.context.pool, progress) {
      window throws(EngineError) in
      try run(session, windows[window])
    }
  }

  /// KL(reference ‖ model) window by window from whatever gives the logits, such as a session that
  /// is restarted from a layer.
  ///
  /// - Parameter logits: `[window's ids, vocabulary]` for the window of this index.
  public func divergence(
    from reference: Reference, _ pool: ThreadPool,
    _ progress: (_ windowsDone: Int) throws(EngineError) -> Void = { _ in },
    logits: (_ window: Int) throws(EngineError) -> FloatMatrix
  ) throws(EngineError) -> Divergence {
    guard reference.windows == windows else {
      throw EngineError(
        "the reference has \(reference.windows.count) windows of other tokens than the \(windows.count) "
          + "that are evaluated. Make the reference from the same windows.")
    }
    var total = Accumulator()
    for index in windows.indices {
      let matrix = try logits(index)
      total.append(
        Self.compare(
          reference.logProbabilities[index], reference.best[index], matrix, windows[index], pool),
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
    let session = Session(model, context: context, capacity: longestWindow)
    let other = Session(reference, context: context, capacity: longestWindow)
    var total = Accumulator()
    var matrix = FloatMatrix(rows: 0, columns: model.vocabularySize)
    guard reference.vocabularySize == model.vocabularySize else {
      throw EngineError(
        "the vocabularies differ: \(reference.vocabularySize) and \(model.vocabularySize) tokens. "
          + "Compare variants of one model.")
    }
    for (index, window) in windows.enumerated() {
      if matrix.rows != window.count - 1 {
        matrix = FloatMatrix(rows: window.count - 1, columns: model.vocabularySize)
      }
      let rows = try Self.logProbabilities(try run(other, window), window, into: matrix, other)
      total.append(
        Self.compare(matrix, rows.map(\.best), try run(session, window), window, context.pool),
        reference: rows.map(\.negativeLogLikelihood))
      try progress(index + 1)
    }
    return total.divergence
  }

  // MARK: Rows

  private func run(_ session: Session, _ window: [Int]) throws(EngineError) -> FloatMatrix {
    session.reset()
    return try session.forward(window, lastOnly: false)
  }

  /// What one prediction amounts to.
  private struct Row: Sendable {
    var negativeLogLikelihood = 0.0
    var klDivergence = 0.0
    var best = 0
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

  /// Runs `body` for every prediction of a window, on all threads.
  private static func rows(
    _ logits: FloatMatrix, _ window: [Int], _ pool: ThreadPool,
    _ body: @Sendable (_ z: Floats, _ label: Int, _ vocabulary: Int, _ row: Int) -> Row
  ) -> [Row] {
    let vocabulary = logits.columns
    return [Row](unsafeUninitializedCapacity: window.count - 1) { buffer, count in
      count = window.count - 1
      buffer.initialize(repeating: Row())
      let results = Results(rows: buffer)
      RowWork.forEach(count, elementsPerRow: 20 * vocabulary, pool) { part in
        logits.withAddress { logits in
          for row in part {
            results.rows[row] = body(logits + row * vocabulary, window[row + 1], vocabulary, row)
          }
        }
      }
    }
  }

  /// Destination of a parallel loop: every thread writes its own rows.
  private struct Results: @unchecked Sendable {
    let rows: UnsafeMutableBufferPointer<Row>
  }

  private static func logProbabilities(
    _ logits: FloatMatrix, _ window: [Int], into matrix: FloatMatrix, _ session: Session
  ) throws(EngineError) -> [Row] {
    rows(logits, window, session.context.pool) { z, label, vocabulary, row in
      matrix.withAddress { matrix in
        let out = matrix + row * vocabulary
        LogitRows.logSoftmax(z, into: out, vocabulary)
        return Row(
          negativeLogLikelihood: -Double(out[label]), best: LogitRows.argmax(z, vocabulary))
      }
    }
  }

  private static func compare(
    _ reference: FloatMatrix, _ best: [Int], _ logits: FloatMatrix, _ window: [Int],
    _ pool: ThreadPool
  ) -> [Row] {
    rows(logits, window, pool) { z, label, vocabulary, row in
      reference.withAddress { reference in
        let logSumExp = LogitRows.logSumExp(z, vocabulary)
        let largest = LogitRows.argmax(z, vocabulary)
        return Row(
          negativeLogLikelihood: logSumExp - Double(z[label]),
          klDivergence: LogitRows.divergence(
            reference: reference + row * vocabulary, z, vocabulary, logSumExp: logSumExp),
          best: largest, agrees: largest == best[row])
      }
    }
  }
}
