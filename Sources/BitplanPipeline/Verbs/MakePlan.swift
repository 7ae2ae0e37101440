internal import BitplanCheckpoint
public import BitplanCore
internal import BitplanDevices
internal import BitplanEngine
public import Foundation

/// What `plan search` is asked.
public struct PlanRequest: Sendable {
  /// Path of the checkpoint.
  public var model: String
  /// Hard limits; at least one, unless there is a ``goal``.
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
  /// Candidate side branches; those of ``sensitivity`` where that is given, else none by default.
  public var branches: [SideBranch]?
  /// Equivalence transforms that the plan may use.
  public var transforms = TransformSelection.standard
  /// Whether rows of one operator may take different formats.
  public var granularity = Granularity.feature
  /// Where the plan goes.
  public var output: String?
  /// Longest time to search for.
  public var timeLimitSeconds = 10.0
  /// Whether plans are executed while searching, and losses corrected by what is measured.
  public var checks = true
  /// What the user demands of some operators.
  public var rules = Plan.Rules()
  /// What to minimise instead of the loss, and how much may be lost.
  public var goal: Plan.Goal?
  /// Tokens of the context whose KV cache counts towards the byte budget.
  public var contextTokens: Int?
  /// How activations are kept.
  public var activations = ActivationChoice.auto
  /// How keys and values are kept.
  public var keyValueCache = KeyValueFormat.float

  /// A request with the defaults.
  public init(model: String, budgets: [Budget]) {
    self.model = model
    self.budgets = budgets
  }
}

/// How a plan's activations are kept.
public enum ActivationChoice: String, Sendable, CaseIterable {
  /// 16 bits for the operators where that saves more than half the share of the loss that it adds to the
  /// time.
  case auto
  /// 8 bits everywhere.
  case int8
  /// 16 bits everywhere.
  case int16
}

extension PlanRequest {
  /// The candidate formats and those that rules name; all where nothing was named.
  var neededFormats: [WeightFormat]? {
    guard let formats else { return nil }
    let named = rules.pins.map(\.format) + (rules.excluded.isEmpty ? [] : [WeightFormat.f16])
    return Array(Set(formats + named)).sorted()
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
    // With a goal, prices are in the goal's unit, which no sentence here has.
    for (budget, price) in zip(plan.budgets, shadowPrices) where price > 0 && plan.goal == nil {
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
    case .decodeJoulesPerToken:
      return "hundredth of a mJ per token would save about "
        + "\(Figures.significant(pricePerUse * 1e-5)) \(unit)."
    }
  }
}

/// `plan [search]`: the whole top row, from a checkpoint to a plan.
extension Workbench {
  /// Profiles and measures what is missing, solves, and writes the plan.
  public func makePlan(_ request: PlanRequest) throws(PipelineError) -> PlanOutcome {
    let source = try ModelSource(path: request.model).leavingRoom(for: request.transforms)
    let output = planFile(request, source)
    let inputs = try searchInputs(request, source, planFile: output)
    let outcome: PlanSearch.Outcome
    do {
      let executor =
        request.checks
        ? try planExecutor(
          source, calibration: request.calibration,
          measuredOn: inputs.sensitivity.calibration.name,
          quantizer: inputs.sensitivity.options.quantizer,
          transforms: inputs.sensitivity.transforms, cache: inputs.keyValueCache)
        : nil
      progress.begin("solve", total: 1)
      outcome = try PlanSearch.run(inputs, executor: executor)
    } catch {
      throw PipelineError(wrapping: error)
    }
    let certificate = outcome.plan.certificate
    progress.end(
      "\(certificate.status.rawValue), gap \(Figures.significant(certificate.relativeGap * 100)) %")
    try ArtifactOutput.write(outcome.plan, to: output)
    return PlanOutcome(
      plan: outcome.plan, file: output, solveSeconds: outcome.solveSeconds,
      shadowPrices: outcome.shadowPrices)
  }

  /// Where the plan goes.
  func planFile(_ request: PlanRequest, _ source: ModelSource) -> URL {
    request.output.map { URL(filePath: $0) } ?? OutputNames.beside(source.checkpoint, "plan.json")
  }

  /// What to search with: artifacts are made where they are missing.
  func searchInputs(
    _ request: PlanRequest, _ source: ModelSource, planFile: URL
  ) throws(PipelineError) -> PlanSearch.Inputs {
    let branches = try neededBranches(request)
    let profile = try profile(for: request, source, branches)
    let sensitivity = try sensitivity(for: request, source, beside: planFile)
    var inputs = PlanSearch.Inputs(
      sensitivity: sensitivity.table, sensitivitySHA256: sensitivity.sha256, profile: profile,
      architectureSHA256: source.model.architectureSHA256, budgets: request.budgets)
    inputs.formats = request.formats
    inputs.branches = branches
    inputs.granularity = request.granularity
    inputs.timeLimitSeconds = request.timeLimitSeconds
    inputs.goal = request.goal
    inputs.rules = request.rules
    inputs.context = try planContext(request, source)
    inputs.choosesActivations = request.activations == .auto
    if request.activations == .int16 {
      inputs.activations = sensitivity.table.rows.map { _ in .int16 }
    }
    inputs.keyValueCache = request.keyValueCache
    return inputs
  }

  /// The KV cache of the context that was asked for.
  private func planContext(
    _ request: PlanRequest, _ source: ModelSource
  ) throws(PipelineError) -> Plan.Context? {
    guard let tokens = request.contextTokens else { return nil }
    guard tokens <= source.model.maximumTokens else {
      throw PipelineError(
        .invalidInput,
        "A context of \(tokens) tokens is more than the \(source.model.maximumTokens) that "
          + "'\(source.checkpoint.name)' was made for. Ask for a shorter one.")
    }
    let bytes = source.model.keyValueBytes(tokenCount: tokens, format: request.keyValueCache)
    guard bytes > 0 else {
      throw PipelineError(
        .invalidInput,
        "'\(source.checkpoint.name)' is an encoder and keeps no KV cache. Leave --context out.")
    }
    return Plan.Context(tokenCount: tokens, keyValueBytes: bytes)
  }

  /// The side branches that were asked for, or that a sensitivity that was named has.
  private func neededBranches(_ request: PlanRequest) throws(PipelineError) -> [SideBranch] {
    if let branches = request.branches { return Set(branches).sorted() }
    guard let path = request.sensitivity else { return [] }
    return try Self.readSensitivity(URL(filePath: path)).table.options.branches ?? []
  }

  private func profile(
    for request: PlanRequest, _ source: ModelSource, _ branches: [SideBranch]
  ) throws(PipelineError) -> ProfileStore.Stored {
    guard let path = request.profile else {
      return try profile(for: source, formats: request.neededFormats, branches: branches)
    }
    if Self.isSimulated(path) {
      return try simulatedProfile(
        device: path, for: source, formats: request.formats, branches: branches)
    }
    let stored = try ProfileStore.read(URL(filePath: path))
    if !request.acceptForeignProfile {
      try ProfileStore.requireMatch(stored, key: CPUIdentity.key(context))
    }
    return stored
  }

  func sensitivity(
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
    measure.formats = request.neededFormats
    measure.branches = request.branches ?? []
    measure.remeasure = request.remeasure
    measure.transforms = request.transforms
    measure.output =
      plan.deletingLastPathComponent()
      .appending(path: "\(source.checkpoint.name).sensitivity.json").path
    return try self.measure(source, measure)
  }
}
