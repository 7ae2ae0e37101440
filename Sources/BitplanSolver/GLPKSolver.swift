internal import CGLPK
public import BitplanSearch

/// Solves assignment problems with GLPK's branch and cut (`glp_intopt`).
///
/// Operators with one choice become constants; every other choice is a binary variable, every
/// operator a row `Σ x = 1`, every limit a row. Rows are shifted and scaled so that their numbers
/// lie near 1, because GLPK works with absolute tolerances of 1e-9; answers are checked in the
/// original units, and where GLPK's tolerance let a limit be exceeded the row is tightened by the
/// excess and solved again (the bound of the first, looser program stays valid).
///
/// GLPK keeps its environment in thread-local storage, and a problem object must stay on the thread
/// that made it; every call here makes and frees its own, so calls from several threads do not meet.
/// GLPK ends the process on an index out of range, so every index is checked by construction and
/// counts are checked against the library's limits before a call.
public struct GLPKSolver: Solver {
  /// Uses the GLPK library that the process is linked with.
  public init() {}

  /// For example `GLPK 5.0`.
  public var name: String { "GLPK \(String(cString: glp_version()))" }

  /// Solves `problem`; see ``BitplanSearch/Solver/solve(_:options:incumbent:)``.
  public func solve(
    _ problem: AssignmentProblem, options: SearchOptions, incumbent: [Int]?
  ) throws(SearchError) -> (selection: [Int], bound: Double, isOptimal: Bool) {
    if let incumbent, !problem.isFeasible(incumbent) {
      throw .invalidProblem(
        "The incumbent does not meet the limits. Give a selection that does, or none.")
    }
    let clock = ContinuousClock()
    let start = clock.now
    let model = BinaryProgram(problem)
    var best = incumbent
    var tightening = [Double](repeating: 0, count: problem.limits.count)
    var bound = -Double.infinity

    // Five tightenings, each by more than the excess seen: the excess is within GLPK's tolerance,
    // so the first one is normally enough.
    for attempt in 0..<5 {
      let (seconds, attoseconds) = start.duration(to: clock.now).components
      let elapsed = Double(seconds) + Double(attoseconds) * 1e-18
      let remaining = options.timeLimitSeconds - elapsed
      guard remaining > 0 else { break }
      let cutoff = best.map { problem.loss(of: $0) * (1 - options.relativeGap * (1 - 1e-6)) }
      let outcome = try model.run(
        cutoff: cutoff, tightening: tightening, timeLimitSeconds: remaining,
        relativeGap: options.relativeGap)
      // Only the program without tightening bounds the problem as given.
      if attempt == 0 { bound = outcome.bound }
      guard let selection = outcome.selection else { break }
      if problem.isFeasible(selection) {
        if best.map({ problem.loss(of: selection) < problem.loss(of: $0) }) ?? true {
          best = selection
        }
        break
      }
      for (k, (use, limit)) in zip(problem.uses(of: selection), problem.limits).enumerated() {
        let excess = use - limit.value
        if excess > 0 { tightening[k] += excess * 2 }
      }
    }
    guard let best else { return ([], bound, bound == .infinity) }
    let loss = problem.loss(of: best)
    bound = min(bound, loss)
    return (best, bound, loss - bound <= (options.relativeGap + 1e-9) * loss)
  }
}
