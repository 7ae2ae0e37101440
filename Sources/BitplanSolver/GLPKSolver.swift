public import BitplanSearch
internal import CGLPK

/// Solves assignment problems with GLPK's branch and cut (`glp_intopt`).
///
/// Operators with one choice become constants; every other choice is a binary variable, every
/// operator a row `Σ x = 1`, every limit a row. Rows are shifted and scaled so that their numbers
/// lie near 1, because GLPK works with absolute tolerances; answers are checked in the original
/// units, and an assignment that exceeds a limit by less than GLPK notices is excluded and the
/// program solved again.
///
/// GLPK keeps its environment in thread-local storage, and a problem object must stay on the thread
/// that made it; every call here makes and frees its own, so calls from several threads do not meet.
/// GLPK ends the process on an index out of range, so every index is checked by construction and
/// counts are checked against the library's limits before a call.
public struct GLPKSolver: Solver {
  /// Assignments that are excluded one by one before limits are tightened.
  private static let exclusionLimit = 8
  /// Tightenings tried after that, each ten times the one before.
  private static let tighteningLimit = 5

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
    var exclusions: [[(operatorIndex: Int, choice: Int)]] = []
    var tightening = [Double](repeating: 0, count: problem.limits.count)
    var bound = -Double.infinity
    var isOptimal = false

    // An assignment that GLPK's tolerance let through is excluded, which is exact. Where there are
    // many of them, limits are tightened instead; that may cost assignments, so that program's
    // answer counts but its proof does not.
    for attempt in 0..<Self.exclusionLimit + Self.tighteningLimit {
      let (seconds, attoseconds) = start.duration(to: clock.now).components
      let remaining = options.timeLimitSeconds - Double(seconds) - Double(attoseconds) * 1e-18
      guard remaining > 0 else { break }
      let cutoff = best.map { options.threshold(below: problem.loss(of: $0)) }
      let outcome = try model.run(
        cutoff: cutoff, exclusions: exclusions, tightening: tightening,
        timeLimitSeconds: remaining, relativeGap: options.relativeGap)
      let isFeasible = outcome.selection.map(problem.isFeasible) ?? true
      if attempt < Self.exclusionLimit {
        bound = max(bound, outcome.bound)
        isOptimal = outcome.isOptimal && isFeasible
      }
      guard let selection = outcome.selection else { break }
      if isFeasible {
        if best.map({ problem.loss(of: selection) < problem.loss(of: $0) }) ?? true {
          best = selection
        }
        break
      }
      if attempt + 1 < Self.exclusionLimit, let exclusion = model.exclusion(selection),
        !exclusion.isEmpty
      {
        exclusions.append(exclusion)
      } else {
        // 1e-9, 1e-8, … of the limit: past GLPK's tolerance of 1e-7 within the attempts left.
        for (k, limit) in problem.limits.enumerated() {
          tightening[k] = max(abs(limit.value) * 1e-10, tightening[k] * 10)
        }
      }
    }
    guard let best else { return ([], bound, bound == .infinity) }
    let loss = problem.loss(of: best)
    bound = min(bound, loss)
    return (best, bound, isOptimal || loss - bound <= options.relativeGap * loss)
  }
}
