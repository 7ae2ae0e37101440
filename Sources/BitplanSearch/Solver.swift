/// Solves what the reduction leaves: one binary variable a choice, one choice an operator, rows `≤`.
public protocol Solver: Sendable {
  /// Name and version, as certificates state it.
  var name: String { get }

  /// Minimises the loss of `problem`.
  ///
  /// - Parameters:
  ///   - options: time limit and the relative gap at which the solver may stop.
  ///   - incumbent: a selection that meets all limits, if one is known. The solver need not look at
  ///     assignments that are not better.
  /// - Returns: a selection that meets all limits exactly (``AssignmentProblem/isFeasible(_:)``),
  ///   no worse than `incumbent`; a bound that the loss of no feasible selection is below; and
  ///   whether the gap between the two is within the options. The selection is empty where there is
  ///   no incumbent and none was found; it is then proved that there is none if `isOptimal` is true.
  func solve(
    _ problem: AssignmentProblem, options: SearchOptions, incumbent: [Int]?
  ) throws(SearchError) -> (selection: [Int], bound: Double, isOptimal: Bool)
}
