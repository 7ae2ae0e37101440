/// What a plan was asked besides its budgets, and what was found out about it while searching.
extension Plan {
  /// What is minimised where it is not the loss.
  public struct Goal: Hashable, Sendable, Codable {
    /// What the plan has as little of as possible; the certificate is in its unit.
    public let minimized: Budget.Kind
    /// The largest loss allowed, in the sensitivity's metric.
    public let maximumLoss: Double

    /// Makes a goal.
    public init(minimized: Budget.Kind, maximumLoss: Double) {
      self.minimized = minimized
      self.maximumLoss = maximumLoss
    }
  }

  /// A context whose KV cache counts towards a byte budget.
  public struct Context: Hashable, Sendable, Codable {
    /// Tokens that the cache holds.
    public let tokenCount: Int
    /// Bytes of the cache at that length.
    public let keyValueBytes: Int

    /// Makes a context.
    public init(tokenCount: Int, keyValueBytes: Int) {
      self.tokenCount = tokenCount
      self.keyValueBytes = keyValueBytes
    }
  }

  /// How keys and values are kept, and what that costs.
  public struct KeyValueCache: Hashable, Sendable, Codable {
    /// The format of keys and values.
    public let format: KeyValueFormat
    /// Its loss with float weights and activations, in the sensitivity's metric; part of the plan's
    /// prediction.
    public let loss: Double

    /// Makes a cache.
    public init(format: KeyValueFormat, loss: Double) {
      self.format = format
      self.loss = loss
    }
  }

  /// What the user demanded of some operators. In patterns `*` stands for any text, `?` for one
  /// character; a pattern matches whole operator names.
  public struct Rules: Hashable, Sendable, Codable {
    /// Operators that have one given format.
    public struct Pin: Hashable, Sendable, Codable {
      /// Which operators.
      public let pattern: String
      /// Their format.
      public let format: WeightFormat

      /// Makes a pin.
      public init(pattern: String, format: WeightFormat) {
        self.pattern = pattern
        self.format = format
      }
    }

    /// Operators that have at least so many bits in every row.
    public struct Floor: Hashable, Sendable, Codable {
      /// Which operators.
      public let pattern: String
      /// The least width of a code, in bits.
      public let bitWidth: Int

      /// Makes a floor.
      public init(pattern: String, bitWidth: Int) {
        self.pattern = pattern
        self.bitWidth = bitWidth
      }
    }

    /// Operators that must share one format: those that a runtime computes as one.
    public enum Fusion: String, Hashable, Sendable, Codable, CaseIterable {
      /// Query, key and value projections of a layer.
      case queryKeyValue = "qkv"
      /// The two halves of a gated feed-forward layer.
      case gateUp = "gate_up"
    }

    /// Every pin that matches an operator applies.
    public var pins: [Pin]
    /// Patterns of operators that stay `f16`.
    public var excluded: [String]
    /// Every floor that matches an operator applies.
    public var floors: [Floor]
    /// Operators that share a format.
    public var fused: [Fusion]

    /// Makes rules; none by default.
    public init(
      pins: [Pin] = [], excluded: [String] = [], floors: [Floor] = [], fused: [Fusion] = []
    ) {
      self.pins = pins
      self.excluded = excluded
      self.floors = floors
      self.fused = fused
    }

    /// Whether nothing is demanded.
    public var isEmpty: Bool {
      pins.isEmpty && excluded.isEmpty && floors.isEmpty && fused.isEmpty
    }
  }

  /// What executing the plan on text that it was not measured on showed, while searching.
  public struct Check: Hashable, Sendable, Codable {
    /// One plan that was tried. Losses are in the sensitivity's metric.
    public struct Round: Hashable, Sendable, Codable {
      /// Stored bytes of the planned operators.
      public let storedBytes: Int
      /// The loss that the search predicted.
      public let predictedLoss: Double
      /// The loss of the executed plan.
      public let measuredLoss: Double
      /// Standard error of ``measuredLoss`` over the windows.
      public let measuredStandardError: Double

      /// Makes a round.
      public init(
        storedBytes: Int, predictedLoss: Double, measuredLoss: Double,
        measuredStandardError: Double
      ) {
        self.storedBytes = storedBytes
        self.predictedLoss = predictedLoss
        self.measuredLoss = measuredLoss
        self.measuredStandardError = measuredStandardError
      }

      /// `measured / predicted − 1`; 0 where nothing was predicted.
      public var deviation: Double {
        predictedLoss > 0 ? measuredLoss / predictedLoss - 1 : 0
      }
    }

    /// One format wherever the rules allow it, of the same or smaller size as the plan.
    public struct Uniform: Hashable, Sendable, Codable {
      /// The format.
      public let format: WeightFormat
      /// Stored bytes of the planned operators.
      public let storedBytes: Int
      /// Loss measured on the same text.
      public let measuredLoss: Double

      /// Makes a comparison.
      public init(format: WeightFormat, storedBytes: Int, measuredLoss: Double) {
        self.format = format
        self.storedBytes = storedBytes
        self.measuredLoss = measuredLoss
      }
    }

    /// What measured losses say about the predicted losses of formats of one width.
    public struct Factor: Hashable, Sendable, Codable {
      /// The width, in bits.
      public let bitWidth: Int
      /// What the sensitivity's losses are multiplied by.
      public let factor: Double

      /// Makes a factor.
      public init(bitWidth: Int, factor: Double) {
        self.bitWidth = bitWidth
        self.factor = factor
      }
    }

    /// The text of the check, which is not the text that the sensitivity was measured on.
    public var text: SensitivityTable.Calibration
    /// The plans that were tried, in order.
    public var rounds: [Round]
    /// Index of the round that the plan is from; absent where the uniform format lost less.
    public var keptRound: Int?
    /// The best uniform format of the same or smaller size, if there is one.
    public var uniform: Uniform?
    /// Corrections that the plan's prediction carries, by width; none where the first prediction held.
    public var lossFactors: [Factor]
    /// The loss measured with 8-bit activations everywhere, where the plan gives some operators 16
    /// bits and was executed that way too: then ``keptLoss`` is of the latter.
    public var sixteenBitActivations: Activations?

    /// What 16-bit activations were measured to save.
    public struct Activations: Hashable, Sendable, Codable {
      /// Measured loss with 8-bit activations everywhere.
      public let lossWithEightBits: Double
      /// Measured loss of the plan.
      public let loss: Double

      /// Makes a comparison.
      public init(lossWithEightBits: Double, loss: Double) {
        self.lossWithEightBits = lossWithEightBits
        self.loss = loss
      }
    }

    /// Makes a check.
    public init(
      text: SensitivityTable.Calibration, rounds: [Round], keptRound: Int?, uniform: Uniform?,
      lossFactors: [Factor]
    ) {
      self.text = text
      self.rounds = rounds
      self.keptRound = keptRound
      self.uniform = uniform
      self.lossFactors = lossFactors
    }

    /// The loss measured for the plan that was kept.
    public var keptLoss: Double? {
      if let sixteenBitActivations { return sixteenBitActivations.loss }
      guard let keptRound else { return uniform?.measuredLoss }
      return rounds.indices.contains(keptRound) ? rounds[keptRound].measuredLoss : nil
    }
  }

  /// Choices that could not be told apart in loss and went to the faster one.
  public struct Ties: Hashable, Sendable, Codable {
    /// Predicted loss given up, within its standard error, in the sensitivity's metric.
    public let lossGivenUp: Double
    /// Predicted decode time saved, seconds a token.
    public let decodeSecondsPerTokenSaved: Double

    /// Makes a record of ties.
    public init(lossGivenUp: Double, decodeSecondsPerTokenSaved: Double) {
      self.lossGivenUp = lossGivenUp
      self.decodeSecondsPerTokenSaved = decodeSecondsPerTokenSaved
    }
  }

  /// How much of the plan stays the same when the measured losses vary within their errors.
  public struct Stability: Hashable, Sendable, Codable {
    /// Searches with losses drawn anew.
    public let resampleCount: Int
    /// Seed of the draws.
    public let seed: UInt64
    /// Mean share of the weights that keep their format.
    public let keptWeightShare: Double

    /// Makes a stability.
    public init(resampleCount: Int, seed: UInt64, keptWeightShare: Double) {
      self.resampleCount = resampleCount
      self.seed = seed
      self.keptWeightShare = keptWeightShare
    }
  }
}

extension Plan.Goal {
  func validate(_ check: ArtifactChecks, _ path: String) throws(ArtifactError) {
    try check.positive(maximumLoss, "\(path).maximumLoss")
  }
}

extension Plan.Context {
  func validate(_ check: ArtifactChecks, _ path: String) throws(ArtifactError) {
    try check.count(tokenCount, in: 1...MatrixShape.largestSize, "\(path).tokenCount")
    try check.count(keyValueBytes, in: 1...(1 << 60), "\(path).keyValueBytes")
  }
}

extension Plan.KeyValueCache {
  func validate(_ check: ArtifactChecks, _ path: String) throws(ArtifactError) {
    guard format != .float else {
      throw check.fail("\(path).format", "is float, which is said by leaving '\(path)' out")
    }
    try check.amount(loss, "\(path).loss")
  }
}

extension Plan.Rules {
  func validate(_ check: ArtifactChecks, _ path: String) throws(ArtifactError) {
    for (index, pin) in pins.enumerated() {
      try check.text(pin.pattern, "\(path).pins[\(index)].pattern")
    }
    for (index, pattern) in excluded.enumerated() {
      try check.text(pattern, "\(path).excluded[\(index)]")
    }
    for (index, floor) in floors.enumerated() {
      try check.text(floor.pattern, "\(path).floors[\(index)].pattern")
      try check.count(floor.bitWidth, in: 1...16, "\(path).floors[\(index)].bitWidth")
    }
    try check.unique(fused, "\(path).fused") { "'\($0.rawValue)'" }
  }
}

extension Plan.Check {
  func validate(_ check: ArtifactChecks, _ path: String) throws(ArtifactError) {
    try check.text(text.name, "\(path).text.name")
    try check.sha256(text.sha256, "\(path).text.sha256")
    try check.count(
      text.windowCount, in: 1...MatrixShape.largestSize, "\(path).text.windowCount")
    try check.count(
      text.windowTokens, in: 1...MatrixShape.largestSize, "\(path).text.windowTokens")
    guard !rounds.isEmpty else { throw check.fail("\(path).rounds", "is empty") }
    for (index, round) in rounds.enumerated() {
      let place = "\(path).rounds[\(index)]"
      try check.count(round.storedBytes, in: 1...Int.max, "\(place).storedBytes")
      try check.amount(round.predictedLoss, "\(place).predictedLoss")
      try check.amount(round.measuredLoss, "\(place).measuredLoss")
      try check.amount(round.measuredStandardError, "\(place).measuredStandardError")
    }
    if let uniform {
      try check.count(uniform.storedBytes, in: 1...Int.max, "\(path).uniform.storedBytes")
      try check.amount(uniform.measuredLoss, "\(path).uniform.measuredLoss")
    }
    if let keptRound {
      try check.count(keptRound, in: 0...rounds.count - 1, "\(path).keptRound")
    } else if uniform == nil {
      throw check.fail("\(path).keptRound", "is missing, and there is no uniform format either")
    }
    try check.amount(
      sixteenBitActivations?.lossWithEightBits,
      "\(path).sixteenBitActivations.lossWithEightBits")
    try check.amount(sixteenBitActivations?.loss, "\(path).sixteenBitActivations.loss")
    for (index, factor) in lossFactors.enumerated() {
      let place = "\(path).lossFactors[\(index)]"
      try check.count(factor.bitWidth, in: 1...16, "\(place).bitWidth")
      try check.positive(factor.factor, "\(place).factor")
    }
    try check.unique(lossFactors.map(\.bitWidth), "\(path).lossFactors") { "the width \($0)" }
  }
}

extension Plan.Ties {
  func validate(_ check: ArtifactChecks, _ path: String) throws(ArtifactError) {
    try check.amount(lossGivenUp, "\(path).lossGivenUp")
    try check.amount(decodeSecondsPerTokenSaved, "\(path).decodeSecondsPerTokenSaved")
  }
}

extension Plan.Stability {
  func validate(_ check: ArtifactChecks, _ path: String) throws(ArtifactError) {
    try check.count(resampleCount, in: 1...1_000_000, "\(path).resampleCount")
    guard (0...1).contains(keptWeightShare) else {
      throw check.fail(
        "\(path).keptWeightShare", "is \(keptWeightShare), and must lie in 0…1")
    }
  }
}
