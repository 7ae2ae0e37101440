/// Predicted and measured costs as pairs of bars, each quantity on its own scale.
struct CostBarsPicture {
  /// What to draw.
  let facts: ReportFacts

  private let width = 350.0
  private let barLeft = 4.0
  private let barHeight = 11.0
  private let rowHeight = 52.0

  /// The picture, or `nil` where no quantity is known.
  func markup() -> Markup? {
    let rows = facts.costs.filter { row in
      row.kind != .exactBytes && row.kind != .perplexity
        && [row.predicted, row.measured].contains { ($0 ?? 0) > 0 }
    }
    guard !rows.isEmpty else { return nil }
    var shapes: [Markup] = []
    for (index, row) in rows.enumerated() {
      shapes += self.row(row, y: Double(index) * rowHeight + 2)
    }
    return SVG.picture(
      id: "costs", title: "Predicted and measured costs",
      description: rows.map(description).joined(separator: " "), width: width,
      height: Double(rows.count) * rowHeight, minimumWidth: width * 0.84,
      maximumWidth: width * 1.5, shapes)
  }

  private func row(_ row: CostRow, y: Double) -> [Markup] {
    let values = [row.predicted, row.measured, row.limit].compactMap { $0 }
    let errors = [row.predictedError, row.measuredError].compactMap { $0 }
    let full = (values.max() ?? 1) + (errors.max() ?? 0)
    let barWidth = width - 100
    func length(_ value: Double) -> Double { full > 0 ? max(0, value / full * barWidth) : 0 }

    var shapes = [SVG.text(barLeft, y + 11, "\(row.label), \(row.unit)", "start strong")]
    let bars: [(Double?, Double?, String, String)] = [
      (row.predicted, row.predictedError, row.predictedText, "predicted"),
      (row.measured, row.measuredError, row.measuredText, "measured"),
    ]
    for (index, bar) in bars.enumerated() {
      let top = y + 16 + Double(index) * (barHeight + 2)
      guard let value = bar.0, value >= 0 else {
        shapes.append(
          SVG.text(barLeft, top + barHeight - 1.5, "not \(bar.3)", "start tiny muted"))
        continue
      }
      var parts = [SVG.rect(barLeft, top, length(value), barHeight, "cost \(bar.3)", radius: 1.5)]
      var end = barLeft + length(value)
      if let error = bar.1 {
        let middle = top + barHeight / 2
        let right = barLeft + length(value + error)
        parts.append(SVG.line(barLeft + length(value - error), middle, right, middle, "error"))
        end = max(end, right)
      }
      if let limit = row.limit { end = Self.pastLimit(end, barLeft + length(limit)) }
      parts.append(
        SVG.text(end + 5, top + barHeight - 1.5, "\(bar.2) \(bar.3)", "start tiny"))
      let error = bar.1.map { " ± \(ReportNumber.significant($0, 2))" } ?? ""
      shapes.append(
        SVG.group(
          "bar", tooltip: "\(row.label), \(bar.3): \(bar.2)\(error) \(row.unit)", parts))
    }
    if let limit = row.limit {
      let x = barLeft + length(limit)
      shapes.append(
        SVG.group(
          "budget", tooltip: "budget: \(row.limitText) \(row.unit)",
          [SVG.line(x, y + 14, x, y + 18 + 2 * barHeight + 2, "limit")]))
    }
    return shapes
  }

  /// Keeps a number clear of the budget's line.
  private static func pastLimit(_ end: Double, _ limit: Double) -> Double {
    end <= limit && limit < end + 90 ? max(end, limit) : end
  }

  private func description(_ row: CostRow) -> String {
    let limit = row.limit == nil ? "" : ", budget \(row.limitText)"
    return "\(row.label): predicted \(row.predictedText), measured \(row.measuredText)\(limit) "
      + "\(row.unit)."
  }
}
