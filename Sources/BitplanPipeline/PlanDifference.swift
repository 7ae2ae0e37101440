public import BitplanCore

/// What changed from one plan to another.
public struct PlanDifference: Codable, Hashable, Sendable {
  /// One operator that differs.
  public struct Change: Codable, Hashable, Sendable {
    /// The operator.
    public let name: String
    /// Formats before, widest share first; empty where the operator is new.
    public let before: [String]
    /// Formats after; empty where the operator is gone.
    public let after: [String]
    /// Stored bytes after minus before.
    public let storedBytes: Int
  }

  /// Operators that differ, in the order of the second plan.
  public let changes: [Change]
  /// Operators that are the same.
  public let unchangedCount: Int
  /// Stored bytes, second plan minus first.
  public let storedBytes: Int
  /// Predicted loss, second plan minus first, where both are in one metric.
  public let loss: Double?
  /// Predicted decode seconds per token, second plan minus first.
  public let decodeSecondsPerToken: Double?

  /// Compares two plans.
  public init(_ first: Plan, _ second: Plan) {
    let before = Dictionary(first.operators.map { ($0.name, $0) }) { a, _ in a }
    let after = Set(second.operators.map(\.name))
    var changes: [Change] = []
    var unchanged = 0
    for assignment in second.operators {
      let old = before[assignment.name]
      if old?.isStored(as: assignment) == true {
        unchanged += 1
      } else {
        changes.append(
          Change(
            name: assignment.name, before: old.map(Self.formats) ?? [],
            after: Self.formats(assignment),
            storedBytes: assignment.storedBytes - (old?.storedBytes ?? 0)))
      }
    }
    for assignment in first.operators where !after.contains(assignment.name) {
      changes.append(
        Change(
          name: assignment.name, before: Self.formats(assignment), after: [],
          storedBytes: -assignment.storedBytes))
    }
    self.changes = changes
    unchangedCount = unchanged
    storedBytes = second.predicted.storedBytes - first.predicted.storedBytes
    loss =
      Self.difference(first, second, \.klDivergenceNatsPerToken)
      ?? Self.difference(first, second, \.cosineDistance)
    decodeSecondsPerToken = Self.difference(first, second, \.decodeSecondsPerToken)
  }

  private static func difference(
    _ first: Plan, _ second: Plan, _ key: KeyPath<Plan.Costs, Double?>
  ) -> Double? {
    guard let a = first.predicted[keyPath: key], let b = second.predicted[keyPath: key] else {
      return nil
    }
    return b - a
  }

  private static func formats(_ assignment: Plan.Assignment) -> [String] {
    assignment.segments.sorted { $0.rowCount > $1.rowCount }.map(\.format.identifier)
      + (assignment.branch.map { [$0.identifier] } ?? [])
  }

  /// The differences as lines.
  public var text: String {
    var lines = changes.map { change in
      let old = change.before.isEmpty ? "–" : change.before.joined(separator: "+")
      let new = change.after.isEmpty ? "–" : change.after.joined(separator: "+")
      return
        "\(change.name): \(old) → \(new) (\(change.storedBytes >= 0 ? "+" : "")\(change.storedBytes) bytes)"
    }
    lines.append("\(changes.count) operators differ, \(unchangedCount) are the same.")
    lines.append(
      "Stored bytes \(storedBytes >= 0 ? "+" : "")\(storedBytes)"
        + (loss.map { ", predicted loss \($0 >= 0 ? "+" : "")\(Figures.significant($0))" } ?? "")
        + (decodeSecondsPerToken.map {
          ", decode \($0 >= 0 ? "+" : "")\(Figures.milliseconds($0)) per token"
        } ?? "") + ".")
    return lines.joined(separator: "\n")
  }
}
