internal import BitplanCore
internal import BitplanSearch
internal import BitplanSolver

/// Solving a ``PlanProblem``.
extension PlanProblem {
  /// One candidate for every operator, and what is proved about it.
  struct Solution {
    /// Index of the candidate, for every operator.
    let selection: [Int]
    /// In the plan's units: losses with what every plan pays, or the goal's.
    let certificate: Certificate
    /// Objective saved by one more unit of each budget; of a goal, by one more unit of loss, last.
    let shadowPrices: [Double]
    /// What ties gave up and saved.
    var ties: Plan.Ties? = nil
  }

  /// An integer program, and the way back to this problem's candidates.
  struct Program {
    let problem: AssignmentProblem
    private let restricted: RestrictedProblem?

    init(_ whole: AssignmentProblem, restricted: RestrictedProblem?) {
      problem = restricted?.problem ?? whole
      self.restricted = restricted
    }

    func expanded(_ selection: [Int]) -> [Int] { restricted?.expanded(selection) ?? selection }

    /// Operators of the plan that each of the program's operators stands for.
    func members(_ index: Int) -> [Int] { restricted?.members[index] ?? [index] }
  }

  /// Name of the limit on loss in programs that minimise something else.
  private static let lossLimit = "loss"

  /// Predicted loss of a selection, with what any quantized plan pays once.
  func loss(of selection: [Int]) -> Double {
    zip(candidates, selection).reduce(commonLoss) { $0 + $1.0[$1.1].loss }
  }

  /// The chosen candidates.
  func chosen(_ selection: [Int]) -> [Candidate] { zip(candidates, selection).map { $0[$1] } }

  /// The program for these budgets.
  func program(_ budgets: [Budget], goal: Plan.Goal? = nil) throws(PipelineError) -> Program {
    var limits: [AssignmentProblem.Limit] = []
    for budget in budgets { limits.append(try limit(budget)) }
    if let goal {
      // Finds a missing profile, as a budget of this kind would.
      _ = try limit(Budget(kind: goal.minimized, limit: .greatestFiniteMagnitude))
      limits.append(
        AssignmentProblem.Limit(name: Self.lossLimit, value: goal.maximumLoss - commonLoss))
    }
    let choices = candidates.map { row in
      row.map { candidate in
        let uses = budgets.map { use(candidate, $0.kind) }
        guard let goal else { return AssignmentProblem.Choice(loss: candidate.loss, uses: uses) }
        return AssignmentProblem.Choice(
          loss: use(candidate, goal.minimized), uses: uses + [candidate.loss])
      }
    }
    do {
      let whole = try AssignmentProblem(choices: choices, limits: limits)
      guard let demands else { return Program(whole, restricted: nil) }
      let (rules, labels) = demands.rules(
        formats: candidates.map { $0.map { $0.formats } })
      return Program(
        whole,
        restricted: try rules.applied(to: whole, names: operators.map(\.name), labels: labels))
    } catch {
      throw PipelineError(wrapping: error)
    }
  }

  /// The best selection within the budgets, ties given to the faster choice.
  func best(
    _ budgets: [Budget], goal: Plan.Goal?, options: SearchOptions
  ) throws(PipelineError) -> Solution {
    let solution = try solve(budgets, goal: goal, options: options)
    guard goal == nil, let broken = withTiesBroken(solution.selection) else { return solution }
    let objective = loss(of: broken.selection)
    let proved = solution.certificate
    return Solution(
      selection: broken.selection,
      certificate: Certificate(
        status: proved.status, objective: objective, bound: min(proved.bound, objective),
        solver: proved.solver, seconds: nil),
      shadowPrices: solution.shadowPrices,
      ties: Plan.Ties(
        lossGivenUp: broken.lossGivenUp,
        decodeSecondsPerTokenSaved: broken.decodeSecondsSaved * (decodeCorrection?.factor ?? 1)))
  }

  /// The best selection within the budgets.
  func solve(
    _ budgets: [Budget], goal: Plan.Goal? = nil, options: SearchOptions
  ) throws(PipelineError) -> Solution {
    let program = try program(budgets, goal: goal)
    let result: SearchResult
    do {
      result = try Search.solve(program.problem, solver: GLPKSolver(), options: options)
    } catch .infeasible(let limit, _, let smallest) {
      if let goal, limit == Self.lossLimit {
        throw PipelineError(.infeasible, unreachableMessage(goal, smallest + commonLoss))
      }
      guard let budget = budgets.first(where: { $0.kind.rawValue == limit }) else {
        throw PipelineError(.internalFailure, "The search named an unknown limit '\(limit)'.")
      }
      throw PipelineError(.infeasible, infeasibleMessage(budget, smallest))
    } catch {
      throw PipelineError(wrapping: error)
    }
    let found = result.certificate
    // The search knows nothing of what every plan pays; the plan's figures do.
    func planUnit(_ value: Double) -> Double {
      goal.map { goalValue(value, $0.minimized) } ?? value + commonLoss
    }
    return Solution(
      selection: program.expanded(result.selection),
      certificate: Certificate(
        status: found.status, objective: planUnit(found.objective),
        bound: min(planUnit(found.bound), planUnit(found.objective)), solver: found.solver,
        seconds: nil),
      shadowPrices: result.shadowPrices)
  }

  /// What is minimised, in its unit; bytes are the operators' own.
  private func goalValue(_ use: Double, _ kind: Budget.Kind) -> Double {
    kind == .storedBytes ? use : budgetValue(use, kind)
  }

  private func unreachableMessage(_ goal: Plan.Goal, _ smallest: Double) -> String {
    "No plan with these formats and budgets is predicted to lose at most "
      + "\(Figures.significant(goal.maximumLoss)): the least is "
      + "\(Figures.significant(smallest * 1.0005, digits: 4)). Allow more loss, loosen a budget, or "
      + "allow wider formats with --formats."
  }

  /// Names the smallest value that works, rounded up so that following the advice does work.
  private func infeasibleMessage(_ budget: Budget, _ smallestUse: Double) -> String {
    // A billionth more than the sum, so that rounding in another order cannot undo the advice.
    let smallest = budgetValue(smallestUse, budget.kind) * (1 + 1e-9)
    let advice: String
    switch budget.kind {
    case .bitsPerWeight: advice = Figures.roundedUp(smallest, decimals: 3) + "bits"
    case .storedBytes: advice = Figures.roundedUp(smallest / 1_048_576, decimals: 3) + "MiB"
    case .decodeSecondsPerToken:
      advice = Figures.roundedUp(smallest * 1e3, decimals: 4) + "ms/token"
    case .prefillSeconds: advice = Figures.roundedUp(smallest * 1e3, decimals: 3) + "ms/prefill"
    case .decodeJoulesPerToken:
      advice = Figures.roundedUp(smallest * 1e3, decimals: 4) + "mJ/token"
    }
    let cache =
      budget.kind == .storedBytes && keyValueBytes > 0
      ? ", of which the KV cache takes \(Figures.mebibytes(keyValueBytes))" : ""
    return "No plan fits \(budget) with these formats and the other budgets. The smallest feasible "
      + "value is \(advice)\(cache): raise the budget, loosen another one, or allow more formats "
      + "with --formats."
  }
}
