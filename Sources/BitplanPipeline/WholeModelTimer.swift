internal import BitplanCore
internal import BitplanDevices
internal import BitplanEngine
internal import BitplanKernels

/// Times whole passes of a model: one decoded token, and a prefill.
struct WholeModelTimer {
  let context: KernelContext
  let cancellation: Cancellation

  /// Decode steps of one sample.
  private static let decodeSteps = 16
  private static let samples = 31

  /// Seconds by batch, undisturbed: 1 is one decoded token after a short prompt.
  func measure(_ model: Model) throws -> [Int: Double] {
    let tokens = PlanProblem.prefillTokens
    guard model.maximumTokens >= tokens else { return [:] }
    var generator = SeededGenerator(state: 3)
    let prompt = (0..<tokens).map { _ in Int.random(in: 0..<model.vocabularySize, using: &generator)
    }
    switch model.objective {
    case .sentenceEmbedding:
      let session = Session(model, context: context, capacity: tokens)
      return [
        1: try repeated { _ = try session.embed([prompt[0]]) },
        tokens: try repeated { _ = try session.embed(prompt) },
      ]
    case .nextToken:
      let session = Session(model, context: context, capacity: tokens + Self.decodeSteps)
      var decode: [Double] = []
      var prefill: [Double] = []
      for _ in 0..<Self.samples {
        try cancellation.check()
        session.reset()
        let watch = Stopwatch()
        _ = try session.forward(prompt, lastOnly: true)
        prefill.append(watch.seconds)
        session.reset()
        _ = try session.forward(Array(prompt.prefix(8)), lastOnly: true)
        let steps = Stopwatch()
        for step in 0..<Self.decodeSteps { _ = try session.forward([prompt[step]], lastOnly: true) }
        decode.append(steps.seconds / Double(Self.decodeSteps))
      }
      return [
        1: Self.undisturbed(decode),
        tokens: Self.undisturbed(prefill),
      ]
    }
  }

  private func repeated(_ body: () throws -> Void) throws -> Double {
    var values: [Double] = []
    for _ in 0..<Self.samples {
      try cancellation.check()
      let watch = Stopwatch()
      try body()
      values.append(watch.seconds)
    }
    return Self.undisturbed(values)
  }

  /// The lower quartile: samples of a whole pass are few and close together, so one disturbance of
  /// the machine can take more than half of them.
  private static func undisturbed(_ values: [Double]) -> Double {
    values.sorted()[values.count / 4]
  }
}
