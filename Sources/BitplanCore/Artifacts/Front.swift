/// What every size would give: the plans of lowest predicted loss from the smallest to 8 bits, with
/// uniform formats and a fixed rule beside them.
public struct Front: Hashable, Sendable, Codable {
  /// The major version this code reads and writes.
  public static let supportedSchemaVersion = 1

  /// The plan of lowest predicted loss at its size.
  public struct Point: Hashable, Sendable, Codable {
    /// What it costs.
    public let predicted: Plan.Costs
    /// No plan of this size or smaller has a lower predicted loss.
    public let bound: Double

    /// Makes a point.
    public init(predicted: Plan.Costs, bound: Double) {
      self.predicted = predicted
      self.bound = bound
    }
  }

  /// Something to hold the front against.
  public struct Reference: Hashable, Sendable, Codable {
    /// A format's identifier, or the name of a rule such as ``mixedRuleName``.
    public let name: String
    /// What it costs.
    public let predicted: Plan.Costs

    /// Makes a reference.
    public init(name: String, predicted: Plan.Costs) {
      self.name = name
      self.predicted = predicted
    }
  }

  /// MixLLM's rule: the tenth of output features with the highest global salience in 8 bits, the rest
  /// in 4 bits.
  public static let mixedRuleName = "mixllm-10%"

  /// Major version of the file's layout.
  public var schemaVersion: Int
  /// The model the front is for.
  public var model: ModelIdentity
  /// The device the times are for.
  public var device: Plan.Device?
  /// Where the losses come from.
  public var sensitivity: Plan.SensitivitySource
  /// Corrections of the losses that a plan's check found; none without one.
  public var lossFactors: [Plan.Check.Factor]
  /// The front, in ascending order of size.
  public var points: [Point]
  /// Uniform formats and rules.
  public var references: [Reference]

  /// Makes a front.
  public init(
    model: ModelIdentity, device: Plan.Device?, sensitivity: Plan.SensitivitySource,
    lossFactors: [Plan.Check.Factor], points: [Point], references: [Reference]
  ) {
    self.schemaVersion = Self.supportedSchemaVersion
    self.model = model
    self.device = device
    self.sensitivity = sensitivity
    self.lossFactors = lossFactors
    self.points = points
    self.references = references
  }

  /// Checks that numbers are in range and that the front falls.
  ///
  /// - Throws: ``ArtifactError`` for the first thing that is wrong.
  public func validate() throws(ArtifactError) {
    let check = ArtifactChecks(.front)
    try ArtifactHeader(schemaVersion: schemaVersion).validate(.front)
    try check.model(model, weightCount: model.plannedWeightCount)
    if let device {
      try check.text(device.name, "device.name")
      try check.sha256(device.profileSHA256, "device.profileSHA256")
    }
    try check.sha256(sensitivity.sha256, "sensitivity.sha256")
    try check.text(sensitivity.quantizer, "sensitivity.quantizer")
    for (index, factor) in lossFactors.enumerated() {
      let place = "lossFactors[\(index)]"
      try check.count(factor.bitWidth, in: 1...16, "\(place).bitWidth")
      try check.positive(factor.factor, "\(place).factor")
    }
    guard !points.isEmpty else { throw check.fail("points", "is empty") }
    for (index, point) in points.enumerated() {
      try point.predicted.validate(check, "points[\(index)].predicted")
      try check.amount(point.bound, "points[\(index)].bound")
    }
    for (index, pair) in zip(points, points.dropFirst()).enumerated() {
      guard pair.0.predicted.storedBytes < pair.1.predicted.storedBytes else {
        throw check.fail(
          "points[\(index + 1)].predicted.storedBytes",
          "is \(pair.1.predicted.storedBytes), and must be more than the point before it")
      }
    }
    for (index, reference) in references.enumerated() {
      try check.text(reference.name, "references[\(index)].name")
      try reference.predicted.validate(check, "references[\(index)].predicted")
    }
    try check.unique(references.map(\.name), "references") { "the name '\($0)'" }
  }
}
