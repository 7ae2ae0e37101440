/// What the reduction leaves of a problem.
struct Core {
  /// The smaller problem, in the units of the problem as given.
  let problem: AssignmentProblem
  /// Indices of the problem as given, by operator and choice of the core.
  let choices: [[Int]]

  /// `nil` where an operator has no choice left.
  init?(_ compact: CompactProblem, of whole: AssignmentProblem) {
    choices = (0..<compact.operatorCount).map { i in
      Array(compact.originalIndices[compact.starts[i]..<compact.starts[i + 1]])
    }
    let kept = zip(choices, whole.choices).map { indices, all in indices.map { all[$0] } }
    guard let problem = try? AssignmentProblem(choices: kept, limits: whole.limits) else {
      return nil
    }
    self.problem = problem
  }

  /// A selection of the whole problem as one of the core; `nil` where it has a fixed choice.
  func index(of selection: [Int]) -> [Int]? {
    var result: [Int] = []
    for (choice, kept) in zip(selection, choices) {
      guard let index = kept.firstIndex(of: choice) else { return nil }
      result.append(index)
    }
    return result
  }

  /// A selection of the core as one of the whole problem.
  func original(_ selection: [Int]) -> [Int] { zip(choices, selection).map { $0[$1] } }
}
