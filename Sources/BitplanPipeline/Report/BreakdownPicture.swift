/// Where bytes, time or loss go: a bar for every operator type, split by bit width.
struct BreakdownPicture {
  /// What to draw.
  let breakdown: CostBreakdown
  /// Unique in the document.
  let id: String
  /// The picture's name.
  let title: String
  /// The unit of all numbers in the picture.
  let unit: String
  /// Amounts of one unit.
  let scale: Double

  private let width = 350.0
  private let labelWidth = 100.0
  private let valueWidth = 92.0
  private let rowHeight = 20.0

  /// The largest row.
  private var largest: Double { breakdown.rows.map(\.total).max() ?? 1 }

  /// An amount in ``unit``, with the decimals that give the largest row three digits.
  private func number(_ amount: Double) -> String {
    ReportNumber.fixed(
      amount / scale, decimals: ReportNumber.decimals(of: largest / scale, digits: 3))
  }

  /// The picture.
  func markup() -> Markup {
    let total = breakdown.total
    let barWidth = width - labelWidth - valueWidth
    var shapes: [Markup] = []
    for (index, row) in breakdown.rows.enumerated() {
      let y = Double(index) * rowHeight
      let baseline = y + rowHeight / 2 + 4
      let label = SafeText.shortened(row.label, to: 13)
      shapes.append(
        SVG.group(
          "heading", tooltip: row.label,
          [SVG.text(labelWidth - 8, baseline, label, "end muted")]))
      var start = labelWidth
      for part in row.parts {
        let length = largest > 0 ? part.amount / largest * barWidth : 0
        let style = part.bitWidth.map { "w\(Palette.shade(bitWidth: $0).bitWidth)" } ?? "rest"
        let name = part.bitWidth.map { "\($0) bits" } ?? "no operator"
        shapes.append(
          SVG.group(
            "bar",
            tooltip:
              "\(row.label), \(name): \(ReportNumber.significant(part.amount / scale, 3)) \(unit)",
            [SVG.rect(start, y + 3, length, rowHeight - 6, "\(style) edge")]))
        start += length
      }
      shapes.append(SVG.text(start + 5, baseline, number(row.total), "start tiny"))
      shapes.append(
        SVG.text(width - 2, baseline, ReportNumber.percent(row.total / total), "end tiny muted"))
    }
    return SVG.picture(
      id: id, title: title, description: description(total), width: width,
      height: Double(breakdown.rows.count) * rowHeight + 2, minimumWidth: width * 0.84,
      maximumWidth: width * 1.4, shapes)
  }

  private func description(_ total: Double) -> String {
    let rows = breakdown.rows.map { row in
      "\(row.label): \(number(row.total)) \(unit), \(ReportNumber.percent(row.total / total))."
    }
    return "In all \(number(total)) \(unit). " + rows.joined(separator: " ")
  }
}
