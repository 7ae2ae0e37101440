public import BitplanCore

/// One format for every operator: what a plan has to beat.
public struct UniformComparison: Codable, Sendable, Hashable {
  /// The format that every operator has.
  public let format: WeightFormat
  /// Stored bits of all planned operators ÷ their weights.
  public let bitsPerWeight: Double
  /// Loss that the sensitivity predicts, in its metric's unit.
  public let predictedLoss: Double?
  /// Loss measured by executing the model, in the same unit.
  public let measuredLoss: Double?

  /// Makes a comparison; what is not known is `nil`.
  public init(
    format: WeightFormat, bitsPerWeight: Double, predictedLoss: Double?, measuredLoss: Double?
  ) {
    self.format = format
    self.bitsPerWeight = bitsPerWeight
    self.predictedLoss = predictedLoss
    self.measuredLoss = measuredLoss
  }
}
