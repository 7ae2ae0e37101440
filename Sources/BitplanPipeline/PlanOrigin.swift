internal import BitplanCore
internal import BitplanSearch
internal import Foundation

/// A plan with the artifacts it was made from, and the choices that it was picked from.
struct PlanOrigin {
  let plan: Plan
  let inputs: PlanSearch.Inputs
  /// With the corrections that the plan carries.
  let problem: PlanProblem
  /// What the plan gives every operator.
  let candidates: [PlanProblem.Candidate]

  /// Rebuilds the choices of a plan.
  ///
  /// - Throws: ``PipelineError`` where the sensitivity lacks an operator or a format of the plan.
  init(
    _ plan: Plan, sensitivity: StoredSensitivity, profile: ProfileStore.Stored?
  ) throws(PipelineError) {
    self.plan = plan
    let table = sensitivity.table
    do { try plan.validate(against: table.rows.map(\.operatorDescription)) } catch {
      throw PipelineError(.stale, "The plan does not fit the sensitivity: \(error)")
    }
    var inputs = PlanSearch.Inputs(
      sensitivity: table, sensitivitySHA256: sensitivity.sha256, profile: profile,
      architectureSHA256: nil, budgets: plan.budgets)
    inputs.branches = Set(plan.operators.compactMap(\.branch)).sorted()
    inputs.goal = plan.goal
    inputs.context = plan.context
    inputs.rules = plan.rules
    inputs.activations = plan.operators.map(\.activations)
    inputs.keyValueCache = plan.keyValueCache?.format ?? .float
    inputs.granularity =
      plan.operators.contains { $0.segments.count > 1 } ? .feature : .layer
    let factors = LossFactors(
      Dictionary((plan.check?.lossFactors ?? []).map { ($0.bitWidth, $0.factor) }) { a, _ in a })
    // A plan does not name the whole-model correction: the right one gives the plan's own times.
    let architectures = Set((profile?.profile.corrections ?? []).map(\.architectureSHA256)).sorted()
    var best: (PlanSearch.Inputs, PlanProblem, [PlanProblem.Candidate], Double)?
    // Without a correction a profile does not know what 16-bit activations cost.
    let hasWide = plan.operators.contains { $0.activations == .int16 }
    for architecture in architectures.map(Optional.some)
      + (hasWide && !architectures.isEmpty ? [] : [nil])
    {
      inputs.architectureSHA256 = architecture
      let problem = try PlanSearch.problem(inputs).corrected(by: factors, table.rows)
      let candidates = plan.operators.enumerated().map {
        problem.candidate($1.segments, beside: $1.branch, of: $0, table.rows)
      }
      let seconds = problem.predicted(candidates, metric: table.metric).decodeSecondsPerToken
      let distance = abs((seconds ?? 0) - (plan.predicted.decodeSecondsPerToken ?? 0))
      if distance < best?.3 ?? .infinity { best = (inputs, problem, candidates, distance) }
    }
    guard let best else {
      throw PipelineError(.internalFailure, "No correction was tried for the plan's times.")
    }
    (self.inputs, problem, candidates) = (best.0, best.1, best.2)
  }

  /// What one more unit of each budget saves of the objective, and of a goal what one more unit of
  /// allowed loss saves, last.
  func prices() throws(PipelineError) -> [Double] {
    var options = PlanSearch.options(inputs)
    // The prices are those of the relaxation, which no proof changes.
    options.relativeGap = 0.05
    return try problem.solve(plan.budgets, goal: plan.goal, options: options).shadowPrices
  }

  /// Objective plus priced uses of a candidate: what the search minimises for each operator alone.
  func priced(
    _ candidate: PlanProblem.Candidate, _ prices: [Double], lossFactor: Double = 1
  ) -> Double {
    let uses = zip(plan.budgets, prices).reduce(0.0) {
      $0 + $1.1 * problem.use(candidate, $1.0.kind)
    }
    let loss = candidate.loss * lossFactor
    guard let goal = plan.goal else { return loss + uses }
    return problem.use(candidate, goal.minimized) + uses + (prices.last ?? 0) * loss
  }
}

extension Workbench {
  /// The artifacts behind a plan: named, or beside it and in the folder of profiles.
  ///
  /// - Returns: the profile is `nil` where the plan has none or it is not found.
  func origin(
    of plan: Plan, planFile: String, sensitivity: String?, profile: String?
  ) throws(PipelineError) -> PlanOrigin {
    let stored = try Self.readSensitivity(
      sensitivity.map { URL(filePath: $0) } ?? Self.sensitivityFile(plan, planFile))
    guard stored.sha256 == plan.sensitivity.sha256 else {
      throw PipelineError(
        .stale,
        "The plan was made from another sensitivity than '\(stored.file.lastPathComponent)'. Name the "
          + "right one with --sensitivity, or make the plan again.")
    }
    return try PlanOrigin(plan, sensitivity: stored, profile: profileBehind(plan, profile))
  }

  /// The profile that a plan's times come from, if it is at hand.
  func profileBehind(
    _ plan: Plan, _ path: String?
  ) throws(PipelineError) -> ProfileStore.Stored? {
    guard let device = plan.device else { return nil }
    if let path {
      let stored = try ProfileStore.read(URL(filePath: path))
      guard stored.sha256 == device.profileSHA256 else {
        throw PipelineError(
          .stale,
          "The plan was made with another profile than '\(stored.file.lastPathComponent)'. Name the "
            + "right one, or make the plan again.")
      }
      return stored
    }
    let names = (try? FileManager.default.contentsOfDirectory(atPath: profilesFolder.path)) ?? []
    for name in names.sorted() where name.hasSuffix(".json") {
      guard let stored = try? ProfileStore.read(profilesFolder.appending(path: name)),
        stored.sha256 == device.profileSHA256
      else { continue }
      return stored
    }
    return nil
  }

  /// Where the sensitivity of a plan is looked for when it is not named.
  static func sensitivityFile(_ plan: Plan, _ planFile: String) -> URL {
    URL(filePath: planFile).deletingLastPathComponent()
      .appending(path: "\(plan.model.name).sensitivity.json")
  }
}

extension Workbench {
  /// Places of a plan's operators whose names match.
  static func matches(_ pattern: String, _ plan: Plan) -> [Int] {
    let glob = GlobPattern(pattern)
    return plan.operators.indices.filter { glob.matches(plan.operators[$0].name) }
  }
}
