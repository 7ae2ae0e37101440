/// Branch and bound on Lagrangian bounds (Geoffrion 1974, doi:10.1007/BFb0120690): for problems whose
/// relaxation is loose because of a few large operators.
///
/// Where one operator holds most of the weights, the relaxation mixes two of its choices that are far
/// apart, and no price tells which. Such an operator's choices are split between the two, and each half
/// has a relaxation of its own; the half with the lowest bound is split next.
struct LagrangianBranching {
  /// The best assignment found, as indices of the problem as given; `nil` where none was better than
  /// the one at the start.
  private(set) var selection: [Int]?
  /// What no assignment is below, in original units: infinite where none can be below the threshold.
  private(set) var bound: Double

  /// Choices of all halves that are looked at: far more than a few large operators need, and a bound
  /// on the memory that open parts take.
  private static let choiceLimit = 2_000_000

  /// A part of the assignments.
  private struct Node {
    let problem: CompactProblem
    let best: LagrangianFunction.Value
  }

  /// - Parameters:
  ///   - problem: all choices.
  ///   - dual: its bound.
  ///   - objective: loss of the best assignment known.
  ///   - options: parts that cannot hold an assignment better by more than the gap are closed.
  ///   - acceptableLoss: an assignment that loses no more ends it, and so does a bound above it.
  ///   - feasibleLoss: the loss of an assignment, as indices of the problem as given, that meets all
  ///     limits.
  init(
    _ problem: CompactProblem, dual: LagrangianDual, objective: Double, options: SearchOptions,
    acceptableLoss: Double?, deadline: Deadline, feasibleLoss: ([Int]) -> Double?
  ) {
    selection = nil
    var objective = objective
    var threshold: Double { options.threshold(below: objective) / problem.lossScale }
    var open = [Node(problem: problem, best: dual.best)]
    var choiceCount = 0
    // Descending by bound, so that the loosest part is the last.
    while let node = open.last, node.best.bound < threshold {
      if choiceCount >= Self.choiceLimit || deadline.hasPassed { break }
      if let acceptableLoss,
        objective <= acceptableLoss || node.best.bound * problem.lossScale > acceptableLoss
      {
        break
      }
      guard let halves = Self.halves(of: node, below: threshold) else { break }
      open.removeLast()
      for part in halves {
        choiceCount += part.choiceCount
        let dual = LagrangianDual(part, deadline: deadline)
        guard dual.best.bound < threshold else { continue }
        let search = PrimalSearch(part, prices: dual.best.multipliers, deadline: deadline)
        if let repaired = search.repaired(dual.best.selection, isUrgent: true) {
          let found = part.original(
            search.improved(repaired, depth: 2, combinationLimit: 20_000))
          if let loss = feasibleLoss(found), loss < objective {
            (selection, objective) = (found, loss)
          }
        }
        // One assignment alone has been looked at now.
        if part.choiceCount == part.operatorCount { continue }
        let place = open.firstIndex { $0.best.bound <= dual.best.bound } ?? open.count
        open.insert(Node(problem: part, best: dual.best), at: place)
      }
    }
    let lowest = open.last?.best.bound ?? .infinity
    bound = lowest < threshold ? lowest * problem.lossScale : .infinity
  }

  /// The two halves of a part without the choices that its reduced costs rule out: split at the
  /// operator whose equally cheap choices are furthest apart, else (where rounding hides ties) at the
  /// one whose choices are; `nil` where all choices of every operator cost the same.
  private static func halves(of node: Node, below threshold: Double) -> [CompactProblem]? {
    let problem = node.problem
    let costs = LagrangianFunction(problem: problem).reducedCosts(node.best.multipliers)
    let room = threshold - node.best.bound + 1e-12 * abs(threshold)
    func widest(costsUpTo limit: Double) -> (operatorIndex: Int, limit: Double, spread: Double)? {
      var result: (operatorIndex: Int, limit: Double, spread: Double)?
      for index in 0..<problem.operatorCount {
        let range = problem.starts[index]..<problem.starts[index + 1]
        let losses = range.filter { costs[$0] <= limit }.map { problem.losses[$0] }
        guard let low = losses.min(), let high = losses.max(), high > low else { continue }
        if high - low > result?.spread ?? 0 { result = (index, high, high - low) }
      }
      return result
    }
    guard let widest = widest(costsUpTo: 1e-9 * abs(threshold)) ?? widest(costsUpTo: room) else {
      return nil
    }
    let range = problem.starts[widest.operatorIndex]..<problem.starts[widest.operatorIndex + 1]
    return [true, false].compactMap { isHigh in
      let part = problem.restricted { choice in
        costs[choice] <= room
          && (!range.contains(choice) || (problem.losses[choice] >= widest.limit) == isHigh)
      }
      let isWhole = (0..<part.operatorCount).allSatisfy { part.starts[$0] < part.starts[$0 + 1] }
      return isWhole ? part : nil
    }
  }
}
