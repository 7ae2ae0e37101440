import BitplanSearch

/// Looks at every assignment.
struct EnumeratingSolver: Solver {
  var name: String { "enumeration" }

  func solve(
    _ problem: AssignmentProblem, options: SearchOptions, incumbent: [Int]?
  ) throws(SearchError) -> (selection: [Int], bound: Double, isOptimal: Bool) {
    var best = incumbent ?? []
    var bestLoss = incumbent.map(problem.loss(of:)) ?? .infinity
    var selection = problem.choices.map { _ in 0 }
    while true {
      if problem.isFeasible(selection), problem.loss(of: selection) < bestLoss {
        (best, bestLoss) = (selection, problem.loss(of: selection))
      }
      var position = 0
      while position < selection.count {
        selection[position] += 1
        if selection[position] < problem.choices[position].count { break }
        selection[position] = 0
        position += 1
      }
      if position == selection.count { return (best, bestLoss, true) }
    }
  }
}

/// Answers with whatever it was made with.
struct ScriptedSolver: Solver {
  var name: String { "scripted" }
  var answer: @Sendable (AssignmentProblem, [Int]?) -> Result<([Int], Double, Bool), SearchError>

  func solve(
    _ problem: AssignmentProblem, options: SearchOptions, incumbent: [Int]?
  ) throws(SearchError) -> (selection: [Int], bound: Double, isOptimal: Bool) {
    let (selection, bound, isOptimal) = try answer(problem, incumbent).get()
    return (selection, bound, isOptimal)
  }
}
