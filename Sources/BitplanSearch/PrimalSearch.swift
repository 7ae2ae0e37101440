/// Finds good assignments near the optimum of the relaxation: repair, then local search.
///
/// Everything is measured at the relaxation's prices λ. With reduced costs `r` (what a choice costs
/// more than its operator's cheapest), the loss of an assignment is exactly
/// `bound + Σ r + λ · slack`, where slack is what it leaves of the limits. A set of changes can
/// therefore gain at most `λ · slack − Σ Δr`, which cuts the enumeration of pairs and triples short.
struct PrimalSearch {
  private let problem: CompactProblem
  private let prices: [Double]
  private let reducedCosts: [Double]
  private let deadline: Deadline

  init(_ problem: CompactProblem, prices: [Double], deadline: Deadline) {
    self.problem = problem
    self.prices = prices
    self.deadline = deadline
    reducedCosts = LagrangianFunction(problem: problem).reducedCosts(prices)
  }

  // MARK: Repair

  /// Changes choices, cheapest per violation removed first, until every limit is met; `nil` where
  /// that gets stuck.
  ///
  /// - Parameter isUrgent: gives up at the deadline; otherwise a start is always tried to its end,
  ///   so that the shortest time limit still has an answer.
  func repaired(_ start: [Int], isUrgent: Bool) -> [Int]? {
    let m = problem.limitCount
    var selection = start
    var totals = problem.uses(of: selection)
    func violation(_ totals: [Double]) -> Double {
      var sum = 0.0
      for k in 0..<m { sum += max(0, totals[k] - problem.limits[k]) }
      return sum
    }
    var excess = violation(totals)
    for _ in 0..<2 * problem.operatorCount + 20 {
      if excess == 0 { return problem.isFeasible(selection) ? selection : nil }
      if isUrgent, deadline.hasPassed { return nil }
      var best: (operatorIndex: Int, choice: Int, score: Double)?
      for i in 0..<problem.operatorCount {
        let current = selection[i]
        for choice in problem.starts[i]..<problem.starts[i + 1] where choice != current {
          var remaining = 0.0
          for k in 0..<m {
            let total = totals[k] + problem.uses[choice * m + k] - problem.uses[current * m + k]
            remaining += max(0, total - problem.limits[k])
          }
          let reduction = excess - remaining
          // Below this a step is rounding noise and repair would crawl.
          guard reduction > 1e-15 * excess else { continue }
          let price = reducedCosts[choice] - reducedCosts[current]
          let score = price > 0 ? price / reduction : price
          if score < best?.score ?? .infinity { best = (i, choice, score) }
        }
      }
      guard let best else { return nil }
      selection[best.operatorIndex] = best.choice
      totals = problem.uses(of: selection)
      let next = violation(totals)
      guard next < excess else { return nil }
      excess = next
    }
    return nil
  }

  // MARK: Local search

  /// Applies the best improving change of up to `depth` operators at once until there is none.
  ///
  /// - Parameters:
  ///   - selection: meets all limits; so does the result, and its loss is not higher.
  ///   - depth: 1, 2 or 3.
  ///   - combinationLimit: combinations looked at in one scan of a depth.
  func improved(_ selection: [Int], depth: Int, combinationLimit: Int = 2_000_000) -> [Int] {
    var selection = selection
    var loss = problem.loss(of: selection)
    var level = 1
    while level <= depth, !deadline.hasPassed {
      var scan = ExchangeScan(
        problem, selection: selection, prices: prices, reducedCosts: reducedCosts, depth: level)
      if let changes = scan.best(combinationLimit: combinationLimit) {
        var next = selection
        for change in changes { next[change.operatorIndex] = change.choice }
        let nextLoss = problem.loss(of: next)
        if nextLoss < loss, problem.isFeasible(next) {
          (selection, loss) = (next, nextLoss)
          level = 1
          continue
        }
      }
      level += 1
    }
    return selection
  }
}

/// One scan over all sets of a few changes to an assignment.
struct ExchangeScan {
  /// Another choice for one operator.
  struct Change {
    let operatorIndex: Int
    let choice: Int
  }

  private let limitCount: Int
  private let depth: Int
  /// Candidates in ascending order of their rise in reduced cost.
  private let changes: [Change]
  private let rises: [Double]
  private let lossChanges: [Double]
  /// `[change][limit]`.
  private let useChanges: [Double]
  private let slack: [Double]
  /// λ · slack: the most that any set of changes could gain.
  private let pricedSlack: Double

  init(
    _ problem: CompactProblem, selection: [Int], prices: [Double], reducedCosts: [Double],
    depth: Int
  ) {
    let m = problem.limitCount
    limitCount = m
    self.depth = depth
    slack = zip(problem.limits, problem.uses(of: selection)).map { $0 - $1 }
    pricedSlack = zip(prices, slack).reduce(0) { $0 + $1.0 * max(0, $1.1) }
    var candidates: [(change: Change, rise: Double)] = []
    for i in 0..<problem.operatorCount {
      let current = selection[i]
      for choice in problem.starts[i]..<problem.starts[i + 1] where choice != current {
        let rise = reducedCosts[choice] - reducedCosts[current]
        candidates.append((Change(operatorIndex: i, choice: choice), rise))
      }
    }
    // A set that holds a change with a higher rise than this cannot gain anything.
    let lowest = min(0, candidates.map(\.rise).min() ?? 0)
    let highest = pricedSlack - Double(depth - 1) * lowest
    candidates = candidates.filter { $0.rise < highest }
    candidates.sort {
      $0.rise != $1.rise ? $0.rise < $1.rise : $0.change.choice < $1.change.choice
    }
    changes = candidates.map(\.change)
    rises = candidates.map(\.rise)
    lossChanges = changes.map {
      problem.losses[$0.choice] - problem.losses[selection[$0.operatorIndex]]
    }
    useChanges = changes.flatMap { change in
      let current = selection[change.operatorIndex]
      return (0..<m).map { problem.uses[change.choice * m + $0] - problem.uses[current * m + $0] }
    }
  }

  /// The set of at most `depth` changes that lowers the loss most and stays within the limits.
  mutating func best(combinationLimit: Int) -> [Change]? {
    var search = Enumeration(scan: self, combinationsLeft: combinationLimit)
    search.extend(from: 0, rise: 0, loss: 0, slack: slack, size: 0)
    return search.bestSet.isEmpty ? nil : search.bestSet.map { changes[$0] }
  }

  private struct Enumeration {
    let scan: ExchangeScan
    var combinationsLeft: Int
    var bestGain = 0.0
    var bestSet: [Int] = []
    var current: [Int] = []

    mutating func extend(from first: Int, rise: Double, loss: Double, slack: [Double], size: Int) {
      let m = scan.limitCount
      let remaining = Double(scan.depth - size)
      for index in first..<scan.changes.count {
        // Later changes rise at least as much, so no set from here on can do better.
        if rise + scan.rises[index] * (scan.rises[index] < 0 ? remaining : 1)
          >= scan.pricedSlack - bestGain
        {
          return
        }
        combinationsLeft -= 1
        if combinationsLeft < 0 { return }
        let place = scan.changes[index].operatorIndex
        if current.contains(where: { scan.changes[$0].operatorIndex == place }) { continue }
        let totalLoss = loss + scan.lossChanges[index]
        if size + 1 < scan.depth {
          var left = slack
          for k in 0..<m { left[k] -= scan.useChanges[index * m + k] }
          current.append(index)
          if totalLoss < -bestGain, left.allSatisfy({ $0 >= 0 }) {
            (bestGain, bestSet) = (-totalLoss, current)
          }
          extend(
            from: index + 1, rise: rise + scan.rises[index], loss: totalLoss, slack: left,
            size: size + 1)
          current.removeLast()
        } else if totalLoss < -bestGain {
          var fits = true
          for k in 0..<m where slack[k] < scan.useChanges[index * m + k] { fits = false }
          if fits { (bestGain, bestSet) = (-totalLoss, current + [index]) }
        }
      }
    }
  }
}
