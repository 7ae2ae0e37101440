internal import BitplanCore
internal import BitplanSearch

/// The least predicted loss at every size.
extension PlanProblem {
  /// A plan of the front.
  struct FrontPlan {
    let candidates: [Candidate]
    let loss: Double
    let bound: Double
  }

  /// The front from the smallest plan to 8-bit ones, in ascending order of size.
  func front(pointCount: Int) throws(PipelineError) -> [FrontPlan] {
    // What the limit is does not matter: the front varies it.
    let whole = try program([Budget(kind: .storedBytes, limit: 1)])
    // Past 8 bits there is next to nothing to gain, and f16 would take half of the axis.
    var kept: [[Int]] = []
    for (index, choices) in whole.problem.choices.enumerated() {
      let weights = whole.members(index).reduce(0) { $0 + operators[$1].shape.weightCount }
      let small = choices.indices.filter { choices[$0].uses[0] * 8 <= 8.5 * Double(weights) }
      kept.append(small.isEmpty ? Array(choices.indices) : small)
    }
    do {
      let narrowed = try AssignmentProblem(
        choices: zip(whole.problem.choices, kept).map { choices, kept in kept.map { choices[$0] } },
        limits: whole.problem.limits)
      return try Search.front(of: narrowed, pointCount: pointCount).map { point in
        let selection = zip(kept, point.selection).map { $0[$1] }
        return FrontPlan(
          candidates: chosen(whole.expanded(selection)), loss: point.loss + commonLoss,
          bound: point.bound + commonLoss)
      }
    } catch {
      throw PipelineError(wrapping: error)
    }
  }
}
