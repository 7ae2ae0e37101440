import BitplanCore

/// Where one quantity goes: per operator type, split by bit width.
struct CostBreakdown {
  /// One operator type, or one operator outside the layers.
  struct Row {
    /// Its short name.
    let label: String
    /// Amounts by bit width, ascending; an entry without a bit width is no operator's.
    let parts: [(bitWidth: Int?, amount: Double)]
    /// All parts.
    var total: Double { parts.reduce(0) { $0 + $1.amount } }
  }

  /// In the order of the map: what is above the layers, the types, what is below.
  let rows: [Row]
  /// Operators whose amount is not known.
  let unknownCount: Int

  /// All rows.
  var total: Double { rows.reduce(0) { $0 + $1.total } }

  /// More rows than this are summed up in the last one.
  private static let rowLimit = 16

  /// Sums `amount` of the segments; `nil` when no segment has one.
  init?(
    _ map: OperatorMap, amount: (OperatorSummary, OperatorSummary.Segment) -> Double?,
    isExpected: (OperatorSummary) -> Bool = { _ in true }
  ) {
    var groups: [(label: String, members: [OperatorSummary])] = []
    func add(_ label: String, _ members: [OperatorSummary]) {
      groups.append((label, members))
    }
    for summary in map.above { add(summary.place.outsideLabel, [summary]) }
    for (index, column) in map.columns.enumerated() {
      add(column.label, map.rows.flatMap { $0.cells[index] })
    }
    for summary in map.below { add(summary.place.outsideLabel, [summary]) }

    var unknown = 0
    var rows: [Row] = []
    for group in groups {
      var amounts: [Int: Double] = [:]
      for summary in group.members where isExpected(summary) {
        var isKnown = false
        for segment in summary.segments {
          guard let value = amount(summary, segment), value.isFinite, value >= 0 else { continue }
          amounts[segment.format.bitWidth, default: 0] += value
          isKnown = true
        }
        if !isKnown { unknown += 1 }
      }
      guard !amounts.isEmpty else { continue }
      rows.append(
        Row(
          label: group.label,
          parts: amounts.sorted { $0.key < $1.key }.map { (bitWidth: $0.key, amount: $0.value) }))
    }
    guard rows.contains(where: { $0.total > 0 }) else { return nil }
    self.rows = Self.limited(rows)
    unknownCount = unknown
  }

  private init(rows: [Row], unknownCount: Int) {
    self.rows = rows
    self.unknownCount = unknownCount
  }

  /// Adds what no operator owns, when the whole is more than the sum.
  func completed(to whole: Double?, label: String) -> CostBreakdown {
    guard let whole, whole.isFinite, unknownCount == 0, whole > total else { return self }
    let rest = Row(label: label, parts: [(bitWidth: nil, amount: whole - total)])
    return CostBreakdown(rows: rows + [rest], unknownCount: unknownCount)
  }

  private static func limited(_ rows: [Row]) -> [Row] {
    guard rows.count > rowLimit else { return rows }
    let kept = Set(
      rows.indices.sorted { (rows[$0].total, $1) > (rows[$1].total, $0) }.prefix(rowLimit - 1))
    var amounts: [Int: Double] = [:]
    for index in rows.indices where !kept.contains(index) {
      for part in rows[index].parts {
        amounts[part.bitWidth ?? 0, default: 0] += part.amount
      }
    }
    let others = Row(
      label: "\(rows.count - kept.count) others",
      parts: amounts.sorted { $0.key < $1.key }.map { (bitWidth: $0.key, amount: $0.value) })
    return rows.indices.filter(kept.contains).map { rows[$0] } + [others]
  }
}
