/// A good assignment from what the relaxation went through on its way to the optimum.
struct Heuristic {
  private let problem: CompactProblem
  private let dual: LagrangianDual
  private let relativeGap: Double
  private let deadline: Deadline

  /// Stops early at an assignment within `relativeGap` of the dual bound.
  init(
    _ problem: CompactProblem, dual: LagrangianDual, relativeGap: Double, deadline: Deadline
  ) {
    self.problem = problem
    self.dual = dual
    self.relativeGap = relativeGap
    self.deadline = deadline
  }

  /// A feasible assignment (flat indices), or `nil` if none was found, which proves nothing.
  func assignment() -> [Int]? {
    let prices = dual.best.multipliers
    let search = PrimalSearch(problem, prices: prices, deadline: deadline)
    let function = LagrangianFunction(problem: problem)
    var starts = [dual.best.selection]
    // Assignments at slightly higher prices use slightly less.
    for factor in [1.0001, 1.001, 1.01, 1.03, 1.1, 1.3, 2] {
      starts.append(function(prices.map { $0 * factor }).selection)
    }
    let late = dual.visited.suffix(16).map(\.selection)
    starts += late
    // The smallest of everything, for limits that leave no choice.
    starts += dual.visited.suffix(64).prefix(48).map(\.selection)

    func isGoodEnough(_ loss: Double) -> Bool {
      loss - dual.best.bound <= relativeGap * loss
    }
    var best: (selection: [Int], loss: Double)?
    var seen: Set<[Int]> = []
    for start in starts where seen.insert(start).inserted {
      // The first few starts are tried in any case.
      if deadline.hasPassed, best != nil || seen.count > 4 { break }
      if let best, isGoodEnough(best.loss) || seen.count > 24 { break }
      guard let repaired = search.repaired(start, isUrgent: seen.count > 4) else { continue }
      let improved = search.improved(repaired, depth: 2, combinationLimit: 100_000)
      let loss = problem.loss(of: improved)
      if loss < best?.loss ?? .infinity { best = (improved, loss) }
    }
    guard let best else { return nil }
    var polished = best.selection
    for combinationLimit in [100_000, 2_000_000] where !isGoodEnough(problem.loss(of: polished)) {
      polished = search.improved(polished, depth: 3, combinationLimit: combinationLimit)
    }
    return polished
  }
}
