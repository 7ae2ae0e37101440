internal import BitplanCore
internal import BitplanDevices
internal import BitplanEngine
internal import BitplanKernels

/// Times whole passes of a model, one decoded token and a prefill, in turn with its operators alone.
///
/// Within seconds a shared machine changes its speed by more than what times are compared to find out. The
/// ratio of a pass to its operators, timed right before it, keeps still.
struct WholeModelTimer {
  let context: KernelContext
  let cancellation: Cancellation

  /// One kind of pass.
  struct Times {
    /// Seconds of a pass: the lower quartile, since where threads wait for each other a disturbance of the
    /// machine can take more than half of the samples.
    let seconds: Double
    /// The fastest pass over the fastest times of its operators alone; `nil` for a pass whose operators were
    /// not timed. Passes take longer than operators' samples, so that fewer of them are undisturbed.
    let overOperators: Double?
  }

  private static let rounds = 61
  /// Large models are steadier and slower: after these, rounds end when the time is over.
  private static let fewestRounds = 5
  private static let mostSecondsAModel = 10.0

  /// A packed model and the operators that its passes consist of.
  struct Subject {
    let model: Model
    /// Its operators, where they are wanted.
    let cases: PassCases?
  }

  /// Times of each of `subjects`, by batch: 1 is one decoded token after a short prompt. None for models
  /// that take fewer tokens than a prefill has.
  ///
  /// - Parameter workingSetBytes: packed bytes that operators are read through while they are timed.
  func measure(
    _ subjects: [Subject], workingSetBytes: Int, progress: (_ round: Int, _ rounds: Int) -> Void
  ) throws -> [[Int: Times]] {
    guard subjects.allSatisfy({ $0.model.maximumTokens >= PlanProblem.prefillTokens }) else {
      return subjects.map { _ in [:] }
    }
    let passes = subjects.map { Passes($0.model, context) }
    let operators = CaseTimer(
      subjects.reduce(into: []) { $0.formUnion($1.cases?.all ?? []) },
      workingSetBytes: workingSetBytes,
      context: context)
    var samples = subjects.map { _ in Samples() }
    let watch = Stopwatch()
    for round in 0..<Self.rounds {
      let isOver = watch.seconds > Self.mostSecondsAModel * Double(subjects.count)
      if round >= Self.fewestRounds, isOver { break }
      progress(round, Self.rounds)
      for (index, subject) in subjects.enumerated() {
        try cancellation.check()
        for batch in PassCases.batches {
          if let cases = subject.cases?.new(atBatch: batch) {
            for (item, seconds) in operators.sample(cases) {
              let fastest = samples[index].fastest[item] ?? .infinity
              samples[index].fastest[item] = min(fastest, seconds)
            }
          }
          samples[index].passes[batch, default: []].append(try passes[index].seconds(batch: batch))
        }
      }
    }
    return zip(subjects, samples).map { subject, samples in
      let sums = subject.cases?.sums { samples.fastest[$0] } ?? [:]
      return samples.passes.reduce(into: [:]) { result, item in
        let sorted = item.value.sorted()
        result[item.key] = Times(
          seconds: sorted[sorted.count / 4], overOperators: sums[item.key].map { sorted[0] / $0 })
      }
    }
  }

  /// What the rounds gave.
  private struct Samples {
    var fastest: [CPUProfiler.Case: Double] = [:]
    /// By batch, round by round.
    var passes: [Int: [Double]] = [:]
  }

  /// Passes of one model, a sample at a time.
  private struct Passes {
    private let session: Session
    private let prompt: [Int]

    /// Decode steps of one sample, and what they continue.
    private static let decodeSteps = 16
    private static let shortPrompt = 8

    init(_ model: Model, _ context: KernelContext) {
      var generator = SeededGenerator(state: 3)
      prompt = (0..<PlanProblem.prefillTokens).map { _ in
        Int.random(in: 0..<model.vocabularySize, using: &generator)
      }
      session = Session(model, context: context, capacity: prompt.count)
    }

    /// Seconds of a pass now. A few tokens go before it, so that the weights are where passes that follow
    /// each other leave them.
    func seconds(batch: Int) throws -> Double {
      let before = Array(prompt.prefix(Self.shortPrompt))
      switch session.model.objective {
      case .sentenceEmbedding:
        _ = try session.embed(before)
        return try seconds { _ = try session.embed(Array(prompt.prefix(batch))) }
      case .nextToken:
        session.reset()
        _ = try session.forward(before, lastOnly: true)
        if batch > 1 {
          session.reset()
          return try seconds { _ = try session.forward(prompt, lastOnly: true) }
        }
        return try seconds {
          for step in 0..<Self.decodeSteps {
            _ = try session.forward([prompt[step]], lastOnly: true)
          }
        } / Double(Self.decodeSteps)
      }
    }

    private func seconds(_ body: () throws -> Void) rethrows -> Double {
      let watch = Stopwatch()
      try body()
      return watch.seconds
    }
  }
}
