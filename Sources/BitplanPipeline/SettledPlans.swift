package import BitplanCore
internal import BitplanSearch

/// Tells whether more masked passes would still change plans.
///
/// Every look at an estimate plans for a few sizes. Passes have done their work when, at every size,
/// the plan of the look before still loses next to nothing against the best one under the newer
/// losses, and its predicted loss has stopped moving.
package final class SettledPlans {
  /// Sizes that are planned for, as parts of the way from the smallest to the largest uniform format.
  static let sizes = [0.15, 0.3, 0.45, 0.6]
  /// What an earlier plan may lose against the best one, in parts of its loss.
  static let regret = 0.003
  /// What a predicted loss may move, in parts of it.
  static let movement = 0.05

  private struct Look {
    let selection: [Int]
    let loss: Double
  }

  private var table: SensitivityTable
  private var last: [Look]?

  /// - Parameter table: what is measured; its rows are those of each look.
  package init(_ table: SensitivityTable) { self.table = table }

  /// Whether the plans that these losses lead to are those of the look before.
  package func isSettled(_ rows: [SensitivityTable.Row]) throws -> Bool {
    table.rows = rows
    // One format an operator: rows share their operator's factor, so they settle with it.
    let problem = try PlanProblem(
      sensitivity: table, profile: nil, formats: nil, architectureSHA256: nil, granularity: .layer)
    let looks = try Self.budgets(problem).map { budget in
      let selection = try problem.solve([budget], options: SearchOptions()).selection
      return Look(selection: selection, loss: problem.loss(of: selection))
    }
    defer { last = looks }
    guard let last, last.count == looks.count, !looks.isEmpty else { return false }
    return zip(last, looks).allSatisfy { before, now in
      problem.loss(of: before.selection) <= (1 + Self.regret) * now.loss
        && abs(before.loss - now.loss) <= Self.movement * now.loss
    }
  }

  private static func budgets(_ problem: PlanProblem) -> [Budget] {
    let sizes = problem.wholes.reduce(into: (smallest: 0, largest: 0)) { sums, row in
      sums.smallest += row.map(\.storedBytes).min() ?? 0
      sums.largest +=
        row.filter { $0.formats[0].bitWidth <= 8 }.map(\.storedBytes).max()
        ?? row.map(\.storedBytes).max() ?? 0
    }
    return Self.sizes.map { part in
      Budget(
        kind: .storedBytes,
        limit: Double(sizes.smallest) + part * Double(sizes.largest - sizes.smallest))
    }
  }
}
