internal import BitplanCore

/// Decides whether all limits can be met together, and how far the one that cannot has to move.
struct Infeasibility {
  /// Up to this many choices the smallest feasible value is the smallest to the last digit; beyond,
  /// it is within 0.001 % of it.
  static let exactChoiceCount = 2000

  private let problem: AssignmentProblem
  private let solver: any Solver
  private let deadline: Deadline

  init(_ problem: AssignmentProblem, solver: any Solver, deadline: Deadline) {
    self.problem = problem
    self.solver = solver
    self.deadline = deadline
  }

  /// The first limit that cannot be met even if nothing else is limited.
  func firstLimitBelowItsMinimum() -> Int? {
    problem.limits.indices.first { k in
      problem.uses(of: smallestSelection(use: k))[k] > problem.limits[k].value
    }
  }

  /// A selection that meets all limits, found by adding one limit after the other and minimising its
  /// use under those before it.
  ///
  /// - Throws: ``SearchError/infeasible(limit:value:smallestFeasible:)`` for the first limit that
  ///   cannot be met together with those before it.
  func feasibleSelection() throws(SearchError) -> [Int] {
    var selection = problem.choices.map { _ in 0 }
    for k in problem.limits.indices {
      if problem.uses(of: selection)[k] <= problem.limits[k].value { continue }
      let (smallest, isExact) = try smallest(
        use: k, keeping: Array(0..<k), start: k == 0 ? nil : selection,
        acceptable: problem.limits[k].value)
      if problem.uses(of: smallest)[k] > problem.limits[k].value {
        guard isExact else { throw undecided() }
        throw try error(namingLimit: k)
      }
      selection = smallest
    }
    return selection
  }

  /// The error for a limit that cannot be met: with its smallest feasible value under the other
  /// limits, those before it first, as far as they can be met together.
  func error(namingLimit k: Int) throws(SearchError) -> SearchError {
    var kept: [Int] = []
    var witness: [Int]?
    for other in problem.limits.indices where other != k {
      let value = problem.limits[other].value
      if let witness, problem.uses(of: witness)[other] <= value {
        kept.append(other)
        continue
      }
      let alone = smallestSelection(use: other)
      if problem.uses(of: alone)[other] > value { continue }
      if kept.isEmpty {
        kept.append(other)
        witness = alone
        continue
      }
      let (selection, isExact) = try smallest(
        use: other, keeping: kept, start: witness, acceptable: value)
      if problem.uses(of: selection)[other] <= value {
        kept.append(other)
        witness = selection
      } else if !isExact {
        throw undecided()
      }
    }
    let (selection, _) = try smallest(use: k, keeping: kept, start: witness, acceptable: nil)
    return .infeasible(
      limit: problem.limits[k].name, value: problem.limits[k].value,
      smallestFeasible: problem.uses(of: selection)[k])
  }

  /// The choices with the least use of resource `k`; of equals those with the lowest loss.
  private func smallestSelection(use k: Int) -> [Int] {
    problem.choices.map { choices in
      choices.indices.min { a, b in
        (choices[a].uses[k], choices[a].loss) < (choices[b].uses[k], choices[b].loss)
      }!
    }
  }

  /// A selection with the least total use of `k` under the limits `keeping`, or with one that is
  /// `acceptable`; and whether it is proved to be the least (or accepted).
  private func smallest(
    use k: Int, keeping: [Int], start: [Int]?, acceptable: Double?
  ) throws(SearchError) -> (selection: [Int], isExact: Bool) {
    if keeping.isEmpty { return (smallestSelection(use: k), true) }
    let choices = problem.choices.map { choices in
      choices.map { choice in
        AssignmentProblem.Choice(loss: choice.uses[k], uses: keeping.map { choice.uses[$0] })
      }
    }
    let reduced = try AssignmentProblem(
      choices: choices, limits: keeping.map { problem.limits[$0] })
    var options = SearchOptions()
    // For thousands of choices the last digit can take minutes and is of no use in a message.
    let count = choices.reduce(0) { $0 + $1.count }
    options.relativeGap = count <= Self.exactChoiceCount ? 0 : 1e-5
    options.timeLimitSeconds = deadline.remainingSeconds
    var run = SearchRun(
      reduced, solver: solver, options: options,
      deadline: Deadline(seconds: deadline.remainingSeconds),
      acceptableLoss: acceptable)
    let result = try run.result(start: start)
    let isExact =
      result.certificate.status == .optimal
      || (acceptable.map { result.certificate.bound > $0 } ?? false)
    return (result.selection, isExact)
  }

  private func undecided() -> SearchError {
    .solverFailed(
      "Time ran out before an assignment within all limits was found or ruled out. Raise the time "
        + "limit, or relax a limit.")
  }
}
