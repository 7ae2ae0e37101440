internal import BitplanCore

/// Picks one choice for every operator, with proof of how good the pick is.
public enum Search {
  /// Solves an assignment problem.
  ///
  /// Dominated choices are dropped; a Lagrangian relaxation bounds the optimum; repair and local
  /// search find an assignment near it; where they are far apart, the large operators are branched
  /// on; choices whose reduced cost shows that no better assignment has them are fixed; what is left
  /// goes to `solver`. Where bound and assignment meet earlier the solver is not called, and the
  /// certificate says so in its solver's name.
  ///
  /// - Parameters:
  ///   - problem: losses, uses and limits.
  ///   - solver: for the core; not called where the bound already proves the assignment.
  ///   - options: time limit and relative gap.
  /// - Returns: a selection that meets every limit exactly, as summed in operator order. Its
  ///   certificate is `optimal` where the gap is within `options.relativeGap` (or the solver's tolerance, if that
  ///   is larger), and `feasible` where time ran out before.
  /// - Throws: ``SearchError/infeasible(limit:value:smallestFeasible:)`` where no assignment meets
  ///   the limits; ``SearchError/solverFailed(_:)`` where the solver fails, or where time runs out
  ///   before either an assignment is found or it is proved that there is none;
  ///   ``SearchError/invalidProblem(_:)`` for options that are not numbers in range.
  public static func solve(
    _ problem: AssignmentProblem, solver: any Solver, options: SearchOptions = SearchOptions()
  ) throws(SearchError) -> SearchResult {
    try options.validate()
    var run = SearchRun(
      problem, solver: solver, options: options,
      deadline: Deadline(seconds: options.timeLimitSeconds))
    return try run.result(start: nil)
  }
}

/// The stages of one search.
struct SearchRun {
  private let problem: AssignmentProblem
  private let solver: any Solver
  private let options: SearchOptions
  private let deadline: Deadline
  /// Above this share of the objective a gap comes from a few large operators, not from the many
  /// small ones that a solver is good at.
  private static let looseGap = 2e-3
  /// A loss (original units) that is good enough to stop at, whatever the gap.
  private let acceptableLoss: Double?

  init(
    _ problem: AssignmentProblem, solver: any Solver, options: SearchOptions, deadline: Deadline,
    acceptableLoss: Double? = nil
  ) {
    self.problem = problem
    self.solver = solver
    self.options = options
    self.deadline = deadline
    self.acceptableLoss = acceptableLoss
  }

  /// Runs all stages.
  ///
  /// - Parameter start: a feasible selection of the problem as given, if one is known.
  mutating func result(start: [Int]?) throws(SearchError) -> SearchResult {
    var statistics = SearchStatistics()
    statistics.choiceCount = problem.choices.reduce(0) { $0 + $1.count }
    let compact = CompactProblem(problem)
    statistics.undominatedCount = compact.choiceCount

    let infeasibility = Infeasibility(problem, solver: solver, deadline: deadline)
    if let limit = infeasibility.firstLimitBelowItsMinimum() {
      throw try infeasibility.error(namingLimit: limit)
    }

    let dual = LagrangianDual(compact, deadline: deadline)
    let lagrangianBound = dual.best.bound * compact.lossScale
    statistics.lagrangianBound = lagrangianBound

    var starts: [[Int]] = []
    if let start { starts.append(start) }
    let heuristic = Heuristic(
      compact, dual: dual, relativeGap: options.relativeGap, deadline: deadline)
    if let found = heuristic.assignment().map(compact.original), problem.isFeasible(found) {
      starts.append(found)
    }
    if starts.isEmpty {
      starts.append(try infeasibility.feasibleSelection())
      if let flat = compact.flat(starts[0]) {
        let search = PrimalSearch(compact, prices: dual.best.multipliers, deadline: deadline)
        starts.append(compact.original(search.improved(flat, depth: 3)))
      }
    }
    var selection = starts.min { problem.loss(of: $0) < problem.loss(of: $1) }!
    var objective = problem.loss(of: selection)
    var bound = min(objective, max(0, lagrangianBound))
    var solverName = "Lagrangian bound"
    var isProved = false
    statistics.heuristicObjective = objective

    if objective - bound > Self.looseGap * objective,
      !isGoodEnough(objective: objective, bound: bound)
    {
      let branching = LagrangianBranching(
        compact, dual: dual, objective: objective, options: options,
        acceptableLoss: acceptableLoss,
        // The solver needs time too if this does not get there.
        deadline: Deadline(seconds: deadline.remainingSeconds / 2)
      ) { problem.isFeasible($0) ? problem.loss(of: $0) : nil }
      solverName = "Lagrangian branch and bound"
      if let better = branching.selection {
        selection = better
        objective = problem.loss(of: better)
      }
      bound = min(
        objective, max(bound, min(options.threshold(below: objective), branching.bound)))
    }
    if !isGoodEnough(objective: objective, bound: bound) {
      // A better assignment by more than the gap has only choices below this.
      let threshold = options.threshold(below: objective)
      let core = self.core(compact, dual: dual, threshold: threshold)
      if let core {
        for count in core.choices.map(\.count) where count > 1 {
          statistics.coreOperatorCount += 1
          statistics.coreChoiceCount += count
        }
        var coreOptions = options
        coreOptions.timeLimitSeconds = deadline.remainingSeconds
        let incumbent = core.index(of: selection)
        let answer = try solver.solve(core.problem, options: coreOptions, incumbent: incumbent)
        solverName = solver.name
        if !answer.selection.isEmpty {
          let candidate = core.original(answer.selection)
          guard problem.isFeasible(candidate) else {
            throw .solverFailed(
              "\(solver.name) returned an assignment that breaks a limit. Report this; a smaller "
                + "time limit gives the assignment found without it.")
          }
          if problem.loss(of: candidate) < objective {
            selection = candidate
            objective = problem.loss(of: candidate)
          }
        }
        isProved = answer.isOptimal
        let proved = answer.bound.isNaN ? -.infinity : answer.bound
        bound = min(objective, max(bound, min(threshold, proved)))
      } else {
        // Every assignment better than the threshold is ruled out.
        bound = min(objective, max(bound, threshold))
      }
    }
    let gap = objective > 0 ? (objective - bound) / objective : 0
    let isOptimal = isProved || gap <= options.relativeGap
    return SearchResult(
      selection: selection,
      certificate: Certificate(
        status: isOptimal ? .optimal : .feasible, objective: objective, bound: bound,
        solver: solverName, seconds: deadline.elapsedSeconds),
      shadowPrices: zip(dual.best.multipliers, compact.useScales).map {
        $0 * compact.lossScale / $1
      },
      statistics: statistics)
  }

  private func isGoodEnough(objective: Double, bound: Double) -> Bool {
    if let acceptableLoss, objective <= acceptableLoss { return true }
    return objective - bound <= options.relativeGap * objective
  }

  /// The choices that an assignment with a loss below `threshold` could have; `nil` where some
  /// operator has none, so that there is no such assignment.
  private func core(
    _ compact: CompactProblem, dual: LagrangianDual, threshold: Double
  ) -> Core? {
    let limit = threshold / compact.lossScale
    let reducedCosts = LagrangianFunction(problem: compact).reducedCosts(dual.best.multipliers)
    // The bound already stands below rounding; a reduced cost has a few roundings of its own.
    let margin = 1e-12 * abs(limit)
    let core = compact.restricted { dual.best.bound + reducedCosts[$0] <= limit + margin }
    return Core(core, of: problem)
  }
}
