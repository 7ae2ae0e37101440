internal import BitplanCheckpoint
internal import BitplanCore
internal import BitplanEngine
internal import BitplanSensitivity

/// Calibration without data: the model writes its own text.
enum SelfCalibration {
  /// What `--calibration` says instead of a file; a file of this name is `./self`.
  static let name = "self"
  /// Seed of the first window; window `n` has this plus `n`.
  static let seed: UInt64 = 0x5E1F
}

extension Workbench {
  /// Windows that the model writes by seeded sampling at temperature 1, each from a random token:
  /// its own distribution, which is what KL divergence weighs predictions by. Window `n` depends on
  /// the model and `n` alone.
  ///
  /// - Parameter windows: which windows; calibration takes the first ones, a check takes later ones.
  /// - Throws: ``PipelineError`` for an encoder, which cannot write.
  func selfCalibration(_ source: ModelSource, windows: Range<Int>) throws -> TokenWindows {
    let model = source.model
    guard model.objective == .nextToken else {
      throw PipelineError(
        .invalidInput,
        "'--calibration self' needs a language model, and '\(source.checkpoint.name)' is an encoder, "
          + "which writes no text. Name a text file with --calibration FILE.")
    }
    let length = min(Self.calibrationWindow, model.maximumTokens)
    let session = Session(model, context: context, capacity: length)
    progress.begin("self-calibration", total: windows.count * length)
    var result: [[Int]] = []
    for (done, window) in windows.enumerated() {
      let seed = SelfCalibration.seed &+ UInt64(window)
      var generator = SeededGenerator(state: seed)
      let first = Int.random(in: 0..<model.vocabularySize, using: &generator)
      var sampler = try Sampler(Sampler.Options(temperature: 1, seed: seed))
      session.reset()
      var tokens = [first]
      while tokens.count < length {
        try cancellation.check()
        progress.advance(done * length + tokens.count, of: windows.count * length)
        let logits = try session.forward([tokens[tokens.count - 1]], lastOnly: true)
        tokens.append(sampler.sample(logits))
      }
      result.append(tokens)
    }
    progress.end("\(windows.count * length) tokens of the model's own text")
    return TokenWindows(name: SelfCalibration.name, windows: result)
  }
}
