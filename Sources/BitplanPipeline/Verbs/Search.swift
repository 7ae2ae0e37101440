public import BitplanCore
internal import BitplanSearch
internal import Foundation

/// `plan search`: from artifacts and budgets to a plan. A pure function of its inputs, and of what
/// executing plans measures where that is asked for.
public struct PlanSearch: Sendable {
  /// What to search with.
  public struct Inputs: Sendable {
    /// What each choice costs in accuracy.
    public var sensitivity: SensitivityTable
    /// SHA-256 of the sensitivity file.
    public var sensitivitySHA256: String
    /// What each choice costs on the device.
    public var profile: ProfileStore.Stored?
    /// Fingerprint that selects the profile's whole-model correction.
    public var architectureSHA256: String?
    /// Hard limits; at least one, unless there is a ``goal``.
    public var budgets: [Budget]
    /// Candidate formats; all that were measured by default.
    public var formats: [WeightFormat]?
    /// Candidate side branches, of those that were measured.
    public var branches: [SideBranch] = []
    /// Whether rows of one operator may take different formats.
    public var granularity = Granularity.feature
    /// What to minimise instead of the loss.
    public var goal: Plan.Goal?
    /// The context whose KV cache counts towards a byte budget.
    public var context: Plan.Context?
    /// What the user demands of some operators.
    public var rules: Plan.Rules?
    /// How activations are kept, one format an operator; 8 bits everywhere by default.
    public var activations: [ActivationFormat]?
    /// Whether operators get 16-bit activations where these save more loss than they cost time.
    public var choosesActivations = false
    /// How keys and values are kept.
    public var keyValueCache = KeyValueFormat.float
    /// Seconds after which the best plan so far is taken, with its gap.
    public var timeLimitSeconds: Double = 10
    /// Points of the front of loss against size, for the report; 0 for none.
    public var frontPoints: Int = 24
    /// Searches with losses drawn within their errors, to say how stable the plan is; 0 for none.
    public var resampleCount: Int = 16

    /// Makes inputs with the defaults.
    public init(
      sensitivity: SensitivityTable, sensitivitySHA256: String, profile: ProfileStore.Stored?,
      architectureSHA256: String?, budgets: [Budget]
    ) {
      self.sensitivity = sensitivity
      self.sensitivitySHA256 = sensitivitySHA256
      self.profile = profile
      self.architectureSHA256 = architectureSHA256
      self.budgets = budgets
    }
  }

  /// The plan and how long the solver took.
  public struct Outcome: Sendable {
    /// The plan; its certificate has no time, so that equal inputs give equal bytes.
    public var plan: Plan
    /// Seconds spent solving.
    public var solveSeconds: Double
    /// Objective saved by one more unit of each budget.
    public var shadowPrices: [Double]
  }

  /// Seed of the draws behind a plan's stability.
  static let stabilitySeed: UInt64 = 1

  /// Finds the plan with the least predicted loss within the budgets.
  public static func run(_ inputs: Inputs) throws(PipelineError) -> Outcome {
    do { return try run(inputs, executor: nil) } catch { throw PipelineError(wrapping: error) }
  }

  /// Finds the plan, and executes it and corrects its losses where an executor is given.
  package static func run(_ inputs: Inputs, executor: PlanExecutor?) throws -> Outcome {
    guard !inputs.budgets.isEmpty || inputs.goal != nil else {
      throw PipelineError(.invalidInput, "Name at least one budget, such as --budget 4.2bits.")
    }
    let problem = try problem(inputs)
    let options = options(inputs)
    let clock = ContinuousClock()
    let start = clock.now
    let solution = try problem.best(inputs.budgets, goal: inputs.goal, options: options)
    let seconds = (clock.now - start) / .seconds(1)
    var prices = solution.shadowPrices
    var plan: Plan
    var final = problem
    if let executor {
      let loop = ClosedLoop(
        inputs: inputs, problem: problem, options: options, executor: executor)
      let result = try loop.run(first: solution)
      plan = makePlan(inputs, problem, result.candidates, result.certificate)
      plan.check = result.check
      plan.ties = result.ties
      prices = result.shadowPrices
      final = problem.corrected(by: result.factors, inputs.sensitivity.rows)
      let stability = try stability(inputs, final, result.candidates)
      plan = try withActivationsChosen(plan, inputs, final, result.candidates, executor)
      plan.stability = stability
    } else {
      let candidates = problem.chosen(solution.selection)
      plan = makePlan(inputs, problem, candidates, solution.certificate)
      plan.ties = solution.ties
      let stability = try stability(inputs, problem, candidates)
      plan = try withActivationsChosen(plan, inputs, problem, candidates, nil)
      plan.stability = stability
    }
    plan.front = try front(inputs, final)
    return Outcome(plan: plan, solveSeconds: seconds, shadowPrices: prices)
  }

  /// The candidates of all operators.
  static func problem(_ inputs: Inputs) throws(PipelineError) -> PlanProblem {
    let problem = try PlanProblem(
      sensitivity: inputs.sensitivity, profile: inputs.profile?.profile, formats: inputs.formats,
      branches: inputs.branches, architectureSHA256: inputs.architectureSHA256,
      granularity: inputs.granularity,
      rules: inputs.rules, keyValueBytes: inputs.context?.keyValueBytes ?? 0,
      cacheLoss: try cache(inputs)?.loss ?? 0)
    guard let activations = inputs.activations else { return problem }
    return try problem.with(activations: activations)
  }

  /// How the plan is searched for.
  static func options(_ inputs: Inputs) -> SearchOptions {
    var options = SearchOptions()
    options.timeLimitSeconds = inputs.timeLimitSeconds
    // Plans of nearly one size are many: proving the last bytes of a goal is not worth the time.
    options.relativeGap = inputs.goal == nil ? 1e-5 : 1e-4
    return options
  }

  /// The plan with these candidates, one an operator.
  static func makePlan(
    _ inputs: Inputs, _ problem: PlanProblem, _ candidates: [PlanProblem.Candidate],
    _ certificate: Certificate
  ) -> Plan {
    let metric = inputs.sensitivity.metric
    let operators = candidates.indices.map { index in
      Plan.Assignment(
        name: problem.operators[index].name, shape: problem.operators[index].shape,
        segments: candidates[index].segments, activations: problem.activations[index],
        branch: candidates[index].branch)
    }
    var plan = Plan(
      model: inputs.sensitivity.model,
      device: inputs.profile.map {
        Plan.Device(
          name: $0.profile.name, profileSHA256: $0.sha256, simulated: $0.profile.simulated)
      },
      sensitivity: Plan.SensitivitySource(
        sha256: inputs.sensitivitySHA256, metric: metric,
        quantizer: inputs.sensitivity.options.quantizer),
      budgets: inputs.budgets, certificate: certificate,
      predicted: problem.predicted(candidates, metric: metric), operators: operators,
      transforms: inputs.sensitivity.transforms)
    plan.goal = inputs.goal
    plan.context = inputs.context
    // Missing costs were refused when the problem was made.
    plan.keyValueCache = try? cache(inputs)
    plan.rules = inputs.rules.flatMap { $0.isEmpty ? nil : $0 }
    return plan
  }

  private static func stability(
    _ inputs: Inputs, _ problem: PlanProblem, _ candidates: [PlanProblem.Candidate]
  ) throws(PipelineError) -> Plan.Stability? {
    guard inputs.resampleCount > 0 else { return nil }
    return try problem.stability(
      of: candidates, budgets: inputs.budgets, goal: inputs.goal,
      resamples: inputs.resampleCount, seed: stabilitySeed,
      timeLimitSeconds: inputs.timeLimitSeconds)
  }

  /// The least predicted loss at other sizes, from the smallest plan to 8-bit ones.
  private static func front(
    _ inputs: Inputs, _ problem: PlanProblem
  ) throws(PipelineError) -> [Plan.FrontPoint]? {
    guard inputs.frontPoints > 1 else { return nil }
    return try problem.front(pointCount: inputs.frontPoints).map { point in
      Plan.FrontPoint(
        bitsPerWeight: BitsPerWeight(
          storedBytes: point.candidates.reduce(0) { $0 + $1.storedBytes },
          weightCount: problem.weightCount
        ).value,
        loss: point.loss)
    }
  }
}
