public import BitplanCore
internal import BitplanSearch
internal import BitplanSolver
internal import Foundation

/// `plan search`: from artifacts and budgets to a plan. A pure function of its inputs.
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
    /// Hard limits; at least one.
    public var budgets: [Budget]
    /// Candidate formats; all that were measured by default.
    public var formats: [WeightFormat]?
    /// Whether rows of one operator may take different formats.
    public var granularity = Granularity.feature
    /// Seconds after which the best plan so far is taken, with its gap.
    public var timeLimitSeconds: Double = 10
    /// Points of the front of loss against size, for the report; 0 for none.
    public var frontPoints: Int = 24

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
    /// Loss saved by one more unit of each budget.
    public var shadowPrices: [Double]
  }

  /// Finds the plan with the least predicted loss within the budgets.
  public static func run(_ inputs: Inputs) throws(PipelineError) -> Outcome {
    guard !inputs.budgets.isEmpty else {
      throw PipelineError(.invalidInput, "Name at least one budget, such as --budget 4.2bits.")
    }
    let problem = try PlanProblem(
      sensitivity: inputs.sensitivity, profile: inputs.profile?.profile, formats: inputs.formats,
      architectureSHA256: inputs.architectureSHA256, granularity: inputs.granularity)
    var options = SearchOptions()
    options.timeLimitSeconds = inputs.timeLimitSeconds
    options.relativeGap = 1e-5
    let clock = ContinuousClock()
    let start = clock.now
    let result = try solve(problem, inputs.budgets, options)
    let seconds =
      Double((clock.now - start).components.attoseconds) * 1e-18
      + Double((clock.now - start).components.seconds)
    let plan = makePlan(inputs, problem, result, front: try front(inputs, problem))
    return Outcome(plan: plan, solveSeconds: seconds, shadowPrices: result.shadowPrices)
  }

  private static func solve(
    _ problem: PlanProblem, _ budgets: [Budget], _ options: SearchOptions
  ) throws(PipelineError) -> SearchResult {
    let assignment = try problem.problem(budgets)
    do {
      return try Search.solve(assignment, solver: GLPKSolver(), options: options)
    } catch .infeasible(let limit, _, let smallest) {
      guard let budget = budgets.first(where: { $0.kind.rawValue == limit }) else {
        throw PipelineError(.internalFailure, "The search named an unknown limit '\(limit)'.")
      }
      throw PipelineError(.infeasible, infeasibleMessage(budget, problem, smallest))
    } catch {
      throw PipelineError(wrapping: error)
    }
  }

  /// Names the smallest value that works, rounded up so that following the advice does work.
  private static func infeasibleMessage(
    _ budget: Budget, _ problem: PlanProblem, _ smallestUse: Double
  ) -> String {
    // A billionth more than the sum, so that rounding in another order cannot undo the advice.
    let smallest = problem.budgetValue(smallestUse, budget.kind) * (1 + 1e-9)
    let advice: String
    switch budget.kind {
    case .bitsPerWeight: advice = String(format: "%.3fbits", (smallest * 1e3).rounded(.up) / 1e3)
    case .storedBytes:
      advice = String(format: "%.3fMiB", (smallest / 1_048_576 * 1e3).rounded(.up) / 1e3)
    case .decodeSecondsPerToken:
      advice = String(format: "%.4fms/token", (smallest * 1e7).rounded(.up) / 1e4)
    case .prefillSeconds:
      advice = String(format: "%.3fms/prefill", (smallest * 1e6).rounded(.up) / 1e3)
    case .decodeJoulesPerToken:
      advice = String(format: "%.4fmJ/token", (smallest * 1e7).rounded(.up) / 1e4)
    }
    return "No plan fits \(budget) with these formats and the other budgets. The smallest feasible "
      + "value is \(advice): raise the budget, loosen another one, or allow more formats with --formats."
  }

  private static func makePlan(
    _ inputs: Inputs, _ problem: PlanProblem, _ result: SearchResult, front: [Plan.FrontPoint]?
  ) -> Plan {
    let metric = inputs.sensitivity.metric
    let found = result.certificate
    // The search knows nothing of the loss that every quantized plan pays; the plan's figures do.
    let certificate = Certificate(
      status: found.status, objective: found.objective + problem.activationCost,
      bound: found.bound + problem.activationCost, solver: found.solver, seconds: nil)
    let operators = zip(problem.operators, zip(problem.candidates, result.selection)).map {
      description, choice in
      Plan.Assignment(
        name: description.name, shape: description.shape,
        segments: choice.0[choice.1].segments)
    }
    return Plan(
      model: inputs.sensitivity.model,
      device: inputs.profile.map {
        Plan.Device(
          name: $0.profile.name, profileSHA256: $0.sha256, simulated: $0.profile.simulated)
      },
      sensitivity: Plan.SensitivitySource(
        sha256: inputs.sensitivitySHA256, metric: metric,
        quantizer: inputs.sensitivity.options.quantizer),
      budgets: inputs.budgets, certificate: certificate,
      predicted: problem.predicted(result.selection, metric: metric), operators: operators,
      front: front)
  }

  /// The least predicted loss at other sizes, from the smallest plan to 8-bit ones.
  private static func front(
    _ inputs: Inputs, _ problem: PlanProblem
  ) throws(PipelineError) -> [Plan.FrontPoint]? {
    guard inputs.frontPoints > 1 else { return nil }
    // What the limit is does not matter: the front varies it.
    let whole = try problem.problem([Budget(kind: .storedBytes, limit: 1)])
    // Past 8 bits there is next to nothing to gain, and f16 would take half of the axis.
    let choices = zip(whole.choices, problem.operators).map { choices, description in
      let small = choices.filter { $0.uses[0] * 8 <= 8.5 * Double(description.shape.weightCount) }
      return small.isEmpty ? choices : small
    }
    do {
      let narrowed = try AssignmentProblem(choices: choices, limits: whole.limits)
      return try Search.front(of: narrowed, pointCount: inputs.frontPoints).map { point in
        Plan.FrontPoint(
          bitsPerWeight: BitsPerWeight(
            storedBytes: Int(point.use), weightCount: problem.weightCount
          ).value,
          loss: point.loss + problem.activationCost)
      }
    } catch {
      throw PipelineError(wrapping: error)
    }
  }
}
