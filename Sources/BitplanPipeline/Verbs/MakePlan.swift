internal import BitplanCheckpoint
public import BitplanCore
internal import BitplanDevices
internal import BitplanEngine
public import Foundation

/// What `plan search` is asked.
public struct PlanRequest: Sendable {
  /// Path of the checkpoint.
  public var model: String
  /// Hard limits; at least one.
  public var budgets: [Budget]
  /// Device profile; this machine's by default.
  public var profile: String?
  /// Whether ``profile`` may be another machine's.
  public var acceptForeignProfile = false
  /// Sensitivity file; beside the plan by default.
  public var sensitivity: String?
  /// Measure the model although a sensitivity exists.
  public var remeasure = false
  /// Text to measure on.
  public var calibration: String?
  /// Candidate formats; `WeightFormat.candidates` by default.
  public var formats: [WeightFormat]?
  /// Whether rows of one operator may take different formats.
  public var granularity = Granularity.feature
  /// Where the plan goes.
  public var output: String?
  /// Longest time to search for.
  public var timeLimitSeconds = 10.0

  /// A request with the defaults.
  public init(model: String, budgets: [Budget]) {
    self.model = model
    self.budgets = budgets
  }
}

/// A plan that was made, and where it is.
public struct PlanOutcome: Sendable {
  /// The plan.
  public let plan: Plan
  /// Its file.
  public let file: URL
  /// Seconds spent solving.
  public let solveSeconds: Double
  /// Loss saved by one more unit of each budget.
  public let shadowPrices: [Double]
  /// The table, the certificate and the file, for people.
  public var summary: String {
    var lines = [PlanReport(plan: plan).text(), ""]
    for (budget, price) in zip(plan.budgets, shadowPrices) where price > 0 {
      lines.append("One more \(PlanOutcome.step(budget.kind, price, plan))")
    }
    lines.append("Solved in \(Figures.significant(solveSeconds)) s. Written to \(file.path)")
    return lines.joined(separator: "\n")
  }

  /// What a little more of a budget buys, in a size that people think in.
  private static func step(_ kind: Budget.Kind, _ pricePerUse: Double, _ plan: Plan) -> String {
    let unit = plan.predicted.cosineDistance == nil ? "nats/token" : "cosine distance"
    switch kind {
    case .bitsPerWeight:
      let bytes = Double(plan.model.plannedWeightCount) / 80
      return "tenth of a bit per weight would save about "
        + "\(Figures.significant(pricePerUse * bytes)) \(unit)."
    case .storedBytes:
      return
        "tenth of a MiB would save about \(Figures.significant(pricePerUse * 104_857.6)) \(unit)."
    case .decodeSecondsPerToken:
      return "hundredth of a ms per token would save about "
        + "\(Figures.significant(pricePerUse * 1e-5)) \(unit)."
    case .prefillSeconds:
      return "ms of prefill would save about \(Figures.significant(pricePerUse * 1e-3)) \(unit)."
    }
  }
}

/// `plan [search]`: the whole top row, from a checkpoint to a plan.
extension Workbench {
  /// Profiles and measures what is missing, solves, and writes the plan.
  public func makePlan(_ request: PlanRequest) throws(PipelineError) -> PlanOutcome {
    let source = try ModelSource(path: request.model)
    let output =
      request.output.map { URL(filePath: $0) }
      ?? OutputNames.beside(source.checkpoint, "plan.json")
    let profile = try profile(for: request, source)
    let sensitivity = try sensitivity(for: request, source, beside: output)
    var inputs = PlanSearch.Inputs(
      sensitivity: sensitivity.table, sensitivitySHA256: sensitivity.sha256, profile: profile,
      architectureSHA256: source.model.architectureSHA256, budgets: request.budgets)
    inputs.formats = request.formats
    inputs.granularity = request.granularity
    inputs.timeLimitSeconds = request.timeLimitSeconds
    progress.begin("solve", total: 1)
    let outcome = try PlanSearch.run(inputs)
    let certificate = outcome.plan.certificate
    progress.end(
      "\(certificate.status.rawValue), gap \(Figures.significant(certificate.relativeGap * 100)) %")
    try ArtifactOutput.write(outcome.plan, to: output)
    return PlanOutcome(
      plan: outcome.plan, file: output, solveSeconds: outcome.solveSeconds,
      shadowPrices: outcome.shadowPrices)
  }

  private func profile(
    for request: PlanRequest, _ source: ModelSource
  ) throws(PipelineError) -> ProfileStore.Stored {
    guard let path = request.profile else {
      return try profile(for: source, formats: request.formats)
    }
    let stored = try ProfileStore.read(URL(filePath: path))
    if !request.acceptForeignProfile {
      try ProfileStore.requireMatch(stored, key: CPUIdentity.key(context))
    }
    return stored
  }

  private func sensitivity(
    for request: PlanRequest, _ source: ModelSource, beside plan: URL
  ) throws(PipelineError) -> StoredSensitivity {
    if let path = request.sensitivity {
      let stored = try Self.readSensitivity(URL(filePath: path))
      try Self.requireMatch(
        stored, model: source.model.identity, calibration: nil, options: nil)
      return stored
    }
    var measure = MeasureRequest()
    measure.calibration = request.calibration
    measure.formats = request.formats
    measure.remeasure = request.remeasure
    measure.output =
      plan.deletingLastPathComponent()
      .appending(path: "\(source.checkpoint.name).sensitivity.json").path
    return try self.measure(source, measure)
  }
}
