extension Search {
  /// One point of the front of total loss against one total use.
  public struct FrontPoint: Hashable, Sendable {
    /// Total use along the front's axis, in that limit's unit.
    public let use: Double
    /// Total loss.
    public let loss: Double
    /// No assignment that uses at most ``use`` (and meets the other limits) has a lower loss.
    public let bound: Double
    /// Index of the picked choice, for every operator.
    public let selection: [Int]
  }

  /// The front of total loss against the use that limit `axis` counts: what every size would give.
  ///
  /// Solves for `pointCount` values of the limit, evenly spaced from the least total use to that of
  /// the lowest loss, by the relaxation and local search alone (no solver), and keeps the points
  /// that no other dominates. Other limits stay as they are; where they leave no assignment, or none
  /// is found, the point is left out.
  ///
  /// - Parameters:
  ///   - axis: index of the limit that varies; its value does not matter.
  ///   - pointCount: solves, at least 2; the front has at most this many points.
  /// - Returns: points in ascending order of use and descending order of loss. The same for the same
  ///   input on any machine.
  /// - Throws: ``SearchError/invalidProblem(_:)`` where `axis` is no limit or `pointCount` is below 2.
  public static func front(
    of problem: AssignmentProblem, along axis: Int = 0, pointCount: Int = 20
  ) throws(SearchError) -> [FrontPoint] {
    guard problem.limits.indices.contains(axis) else {
      throw .invalidProblem(
        "There is no limit \(axis) among \(problem.limits.count). Name one of the problem's limits."
      )
    }
    guard pointCount >= 2 else {
      throw .invalidProblem("A front of \(pointCount) points has no ends. Ask for at least 2.")
    }
    let least = problem.uses(of: smallest(problem) { ($0.uses[axis], $0.loss) })[axis]
    let most = problem.uses(of: smallest(problem) { ($0.loss, $0.uses[axis]) })[axis]
    let never = Deadline(seconds: .infinity)
    var points: [FrontPoint] = []
    for index in 0..<pointCount {
      // The ends exactly, because a rounded end may leave out the one assignment that is there.
      let value =
        switch index {
        case 0: least
        case pointCount - 1: most
        default: least + (most - least) * Double(index) / Double(pointCount - 1)
        }
      var limits = problem.limits
      limits[axis] = AssignmentProblem.Limit(name: limits[axis].name, value: value)
      let slice = try AssignmentProblem(choices: problem.choices, limits: limits)
      let compact = CompactProblem(slice)
      let dual = LagrangianDual(compact, deadline: never)
      let heuristic = Heuristic(compact, dual: dual, relativeGap: 1e-4, deadline: never)
      guard let selection = heuristic.assignment().map(compact.original),
        slice.isFeasible(selection)
      else { continue }
      let loss = slice.loss(of: selection)
      points.append(
        FrontPoint(
          use: slice.uses(of: selection)[axis], loss: loss,
          bound: min(loss, max(0, dual.best.bound * compact.lossScale)), selection: selection))
    }
    points.sort { ($0.use, $0.loss) < ($1.use, $1.loss) }
    var front: [FrontPoint] = []
    for point in points where point.loss < front.last?.loss ?? .infinity { front.append(point) }
    return front
  }

  private static func smallest(
    _ problem: AssignmentProblem, by key: (AssignmentProblem.Choice) -> (Double, Double)
  ) -> [Int] {
    problem.choices.map { choices in
      choices.indices.min { key(choices[$0]) < key(choices[$1]) }!
    }
  }
}
