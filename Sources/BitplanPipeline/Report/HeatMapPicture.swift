import BitplanCore

/// Layers × operator types, coloured by bit width.
///
/// Deep models are split into panels that stand side by side where there is room.
struct HeatMapPicture {
  /// What to draw.
  let facts: ReportFacts

  /// Layers in a panel at most.
  private static let panelHeight = 28
  private static let cellWidth = 46.0
  private static let headerHeight = 20.0
  private static let barHeight = 24.0

  private var map: OperatorMap { facts.map }
  private var rowHeight: Double { map.rows.count > 16 ? 18 : 24 }

  private var labelWidth: Double {
    let longest = map.rows.map { SafeText.columns($0.label) }.max() ?? 0
    return min(150, max(34, Double(longest) * 6.4 + 14))
  }

  private var width: Double {
    max(340, labelWidth + Double(map.columns.count) * Self.cellWidth + 4)
  }

  /// How many pictures the map takes.
  var panelCount: Int {
    max(1, (map.rows.count + Self.panelHeight - 1) / Self.panelHeight)
  }

  /// The panels, left to right.
  func markup() -> [Markup] {
    let perPanel = (map.rows.count + panelCount - 1) / panelCount
    return (0..<panelCount).map { panel in
      let start = min(panel * perPanel, map.rows.count)
      let end = min(start + perPanel, map.rows.count)
      return self.panel(panel, map.rows[start..<end])
    }
  }

  private func panel(_ index: Int, _ rows: ArraySlice<OperatorMap.Row>) -> Markup {
    var shapes: [Markup] = []
    var y = 0.0
    if index == 0 {
      for summary in map.above {
        shapes.append(bar(summary, y))
        y += Self.barHeight
      }
      if !map.above.isEmpty, !rows.isEmpty { y += 4 }
    }
    if !rows.isEmpty {
      shapes.append(SVG.text(labelWidth - 6, y + 14, "layer", "end muted"))
      for (column, heading) in map.columns.enumerated() {
        let label = SafeText.shortened(heading.label, to: 7)
        shapes.append(
          SVG.group(
            "heading", tooltip: heading.type,
            [SVG.text(cellX(column) + cellWidth / 2, y + 14, label, "middle strong")]))
      }
      y += Self.headerHeight
      for row in rows {
        shapes.append(
          SVG.group(
            "heading", tooltip: "layer \(row.label)",
            [
              SVG.text(
                labelWidth - 6, y + rowHeight / 2 + 4, SafeText.shortened(row.label, to: 21),
                "end muted")
            ]))
        for (column, members) in row.cells.enumerated() {
          shapes += cell(
            members, x: cellX(column), y: y, width: cellWidth, height: rowHeight)
        }
        y += rowHeight
      }
    }
    if index == panelCount - 1 {
      if !map.below.isEmpty, y > 0 { y += 4 }
      for summary in map.below {
        shapes.append(bar(summary, y))
        y += Self.barHeight
      }
    }
    return SVG.picture(
      id: "map-\(index)", title: title(rows), description: description(rows, index: index),
      width: width, height: max(y, 1) + 2, minimumWidth: width * 0.84,
      maximumWidth: width * (map.rows.count > 16 ? 1.3 : 1.6), shapes)
  }

  private var cellWidth: Double {
    map.columns.isEmpty
      ? 0 : (width - labelWidth - 4) / Double(map.columns.count)
  }

  private func cellX(_ column: Int) -> Double { labelWidth + Double(column) * cellWidth }

  private func title(_ rows: ArraySlice<OperatorMap.Row>) -> String {
    guard let first = rows.first, let last = rows.last else { return "Bit width of every operator" }
    return first.label == last.label
      ? "Bit widths of layer \(first.label)"
      : "Bit widths of layers \(first.label) to \(last.label)"
  }

  private func description(_ rows: ArraySlice<OperatorMap.Row>, index: Int) -> String {
    let lines = rows.map { row in
      let cells = zip(map.columns, row.cells).compactMap { column, members in
        members.dominantFormat.map { "\(column.label) \($0.bitWidth)\($0.isMixed ? " mixed" : "")" }
      }
      return "Layer \(row.label): \(cells.joined(separator: ", "))."
    }
    let outside = (index == 0 ? map.above : []) + (index == panelCount - 1 ? map.below : [])
    let others = outside.map { "\($0.name): \($0.dominant.map { "\($0.bitWidth)" } ?? "–")." }
    return "Bits of each operator. " + (lines + others).joined(separator: " ")
  }

  /// An operator outside the layers: as wide as the picture, its name inside.
  private func bar(_ summary: OperatorSummary, _ y: Double) -> Markup {
    let (left, barWidth) = (4.0, 96.0)
    let name = SafeText.shortened(summary.name, to: Int((width - barWidth - 16) / 6.4))
    return .tag(
      "g", [:],
      [
        SVG.group(
          "heading", tooltip: summary.name, [SVG.text(left, y + 15, name, "strong")])
      ]
        + cell(
          [summary], x: width - barWidth - 4, y: y, width: barWidth, height: Self.barHeight - 3))
  }

  /// One cell: a stripe for every segment, as wide as its share of the rows.
  private func cell(
    _ members: [OperatorSummary], x: Double, y: Double, width: Double, height: Double
  ) -> [Markup] {
    let inset = 1.0
    let (left, top) = (x + inset, y + inset)
    let (inner, tall) = (width - 2 * inset, height - 2 * inset)
    guard !members.isEmpty else {
      return [SVG.text(x + width / 2, y + height / 2 + 4, "·", "middle muted")]
    }
    let stripes = Self.stripes(members)
    var shapes: [Markup] = []
    var start = left
    for stripe in stripes {
      let wide = inner * stripe.share
      let shade = Palette.shade(bitWidth: stripe.format.bitWidth).bitWidth
      shapes.append(SVG.rect(start, top, wide, tall, "w\(shade)"))
      let (middle, baseline) = (start + wide / 2, y + height / 2 + 4)
      if stripes.count == 1 {
        shapes.append(Self.name(stripe.format, middle, baseline, shade: shade))
      } else if wide >= (stripe.format.bitWidth > 9 ? 14 : 8) {
        shapes.append(
          SVG.text(middle, baseline, "\(stripe.format.bitWidth)", "middle strong i\(shade)"))
      }
      start += wide
    }
    shapes.append(SVG.rect(left, top, inner, tall, "edge"))
    return [SVG.group("cell", tooltip: tooltip(members), shapes)]
  }

  /// A format in a cell: bits in bold, group size small.
  private static func name(
    _ format: WeightFormat, _ x: Double, _ y: Double, shade: Int
  ) -> Markup {
    var parts: [Markup] = [.tag("tspan", ["class": "strong"], text: "\(format.bitWidth)")]
    if format.groupSize > 1 {
      let suffix = format.identifier.split(separator: "_").last.map(String.init) ?? ""
      parts.append(.tag("tspan", ["class": "tiny", "dx": "2.5"], text: suffix))
    }
    return .tag(
      "text",
      ["x": Markup.number(x), "y": Markup.number(y), "class": "middle i\(shade)"], parts)
  }

  /// Shares of a cell by format, widest format first.
  private static func stripes(
    _ members: [OperatorSummary]
  ) -> [(format: WeightFormat, share: Double)] {
    var weights: [WeightFormat: Double] = [:]
    for summary in members {
      for segment in summary.segments {
        weights[segment.format, default: 0] +=
          segment.share * Double(max(1, summary.weightCount))
      }
    }
    let total = weights.values.sorted().reduce(0, +)
    return weights.sorted { $0.key > $1.key }.map { ($0.key, $0.value / total) }
  }

  private func tooltip(_ members: [OperatorSummary]) -> String {
    let shown = members.prefix(8).map(tooltip)
    let rest = members.count > 8 ? ["and \(members.count - 8) more operators"] : []
    return (shown + rest).joined(separator: "\n")
  }

  private func tooltip(_ summary: OperatorSummary) -> String {
    var lines = [
      "\(summary.name)  \(summary.shape)",
      "\(ReportNumber.bytes(summary.storedBytes)), "
        + "\(ReportNumber.fixed(summary.bitsPerWeight, decimals: 3)) bits/weight",
    ]
    for segment in summary.segments {
      var line = segment.format.identifier
      if summary.segments.count > 1 {
        line += ": \(segment.rowCount) rows (\(ReportNumber.percent(segment.share)))"
      }
      if let entry = segment.sensitivity {
        let whole = summary.segments.count > 1 ? "whole operator in this format" : "predicted loss"
        let loss =
          entry.value == nil ? "not measured" : facts.metric.text(entry.value, entry.standardError)
        line += "; \(whole): \(loss)"
      }
      lines.append(line)
    }
    if let seconds = summary.decodeSeconds {
      lines.append("decode: \(ReportNumber.seconds(seconds)) per token")
    }
    return lines.joined(separator: "\n")
  }
}
