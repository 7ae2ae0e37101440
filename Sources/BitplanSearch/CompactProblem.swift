/// A problem in flat arrays, without dominated choices, in units near 1.
///
/// Losses and uses are divided by powers of two, which is exact: scaled totals round as the original
/// totals do, so a selection meets a scaled limit exactly when it meets the original one (as long as
/// nothing underflows; answers are checked in the original units in any case).
struct CompactProblem {
  /// Number of limits.
  let limitCount: Int
  /// Choices of operator `i` are `starts[i]..<starts[i + 1]`.
  let starts: [Int]
  /// Scaled loss of every choice.
  let losses: [Double]
  /// Scaled uses, `[choice][limit]`.
  let uses: [Double]
  /// Scaled limits.
  let limits: [Double]
  /// The choice's index inside its operator of the problem as given.
  let originalIndices: [Int]
  /// Power of two that a scaled loss is multiplied by to give the original.
  let lossScale: Double
  /// Powers of two that scaled uses are multiplied by to give the originals.
  let useScales: [Double]

  var operatorCount: Int { starts.count - 1 }
  var choiceCount: Int { losses.count }

  /// Removes dominated choices and scales.
  init(_ problem: AssignmentProblem) {
    let limitCount = problem.limits.count
    var starts = [0]
    var kept: [(operatorIndex: Int, choice: Int)] = []
    for (index, choices) in problem.choices.enumerated() {
      kept += Dominance.undominated(choices).map { (index, $0) }
      starts.append(kept.count)
    }
    func scale(_ value: (AssignmentProblem.Choice) -> Double) -> Double {
      let total = problem.choices.reduce(0.0) { $0 + ($1.map(value).max() ?? 0) }
      return total > 0 ? total.binade : 1
    }
    let lossScale = scale { $0.loss }
    let useScales = (0..<limitCount).map { k in scale { $0.uses[k] } }
    self.limitCount = limitCount
    self.starts = starts
    self.lossScale = lossScale
    self.useScales = useScales
    losses = kept.map { problem.choices[$0.operatorIndex][$0.choice].loss / lossScale }
    uses = kept.flatMap { entry in
      zip(problem.choices[entry.operatorIndex][entry.choice].uses, useScales).map { $0 / $1 }
    }
    limits = zip(problem.limits, useScales).map { $0.value / $1 }
    originalIndices = kept.map(\.choice)
  }

  private init(
    _ whole: CompactProblem, keeping keep: (Int) -> Bool
  ) {
    limitCount = whole.limitCount
    limits = whole.limits
    lossScale = whole.lossScale
    useScales = whole.useScales
    var starts = [0]
    var kept: [Int] = []
    for i in 0..<whole.operatorCount {
      kept += (whole.starts[i]..<whole.starts[i + 1]).filter(keep)
      starts.append(kept.count)
    }
    self.starts = starts
    let m = whole.limitCount
    losses = kept.map { whole.losses[$0] }
    uses = kept.flatMap { whole.uses[$0 * m..<($0 + 1) * m] }
    originalIndices = kept.map { whole.originalIndices[$0] }
  }

  /// The same problem with only the choices for which `keep` is true.
  func restricted(to keep: (Int) -> Bool) -> CompactProblem { CompactProblem(self, keeping: keep) }

  /// Total scaled loss, in operator order; `selection` holds flat choice indices.
  func loss(of selection: [Int]) -> Double {
    var total = 0.0
    for choice in selection { total += losses[choice] }
    return total
  }

  /// Total scaled uses, in operator order.
  func uses(of selection: [Int]) -> [Double] {
    var totals = [Double](repeating: 0, count: limitCount)
    for choice in selection {
      for k in 0..<limitCount { totals[k] += uses[choice * limitCount + k] }
    }
    return totals
  }

  /// Whether every scaled total is within its limit.
  func isFeasible(_ selection: [Int]) -> Bool {
    zip(uses(of: selection), limits).allSatisfy { $0 <= $1 }
  }

  /// Flat choice indices as indices of the problem as given.
  func original(_ selection: [Int]) -> [Int] { selection.map { originalIndices[$0] } }

  /// Indices of the problem as given as flat choice indices; `nil` where one was removed.
  func flat(_ selection: [Int]) -> [Int]? {
    var result: [Int] = []
    for (i, choice) in selection.enumerated() {
      guard let index = (starts[i]..<starts[i + 1]).first(where: { originalIndices[$0] == choice })
      else { return nil }
      result.append(index)
    }
    return result
  }
}
