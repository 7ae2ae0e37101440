import BitplanCore

/// The report for a terminal.
struct TextReport {
  /// What to show.
  let facts: ReportFacts
  /// Columns of the terminal.
  let width: Int
  /// Whether to paint bit widths.
  let color: Bool

  /// All sections, one empty line between them.
  func rendered() -> String {
    let sections = [
      header(), totals(), certificate(), formats(), layers(), outside(), uniformFormats(),
      warnings(),
    ]
    return sections.filter { !$0.isEmpty }.map { $0.joined(separator: "\n") }
      .joined(separator: "\n\n") + "\n"
  }

  private func header() -> [String] {
    let model =
      "\(facts.modelName) (\(facts.architecture), "
      + "\(ReportNumber.grouped(facts.plan.model.plannedWeightCount)) weights)"
    return field("model", model) + field("device", facts.deviceText)
      + field("budgets", facts.budgetsText)
      + field("minimised", PlanRecord.minimized(facts.plan, facts.metric))
  }

  private func field(_ name: String, _ value: String) -> [String] {
    let indent = 13
    let label = name + String(repeating: " ", count: indent - name.count)
    let lines = TextFlow.wrapped(value, width: width - indent)
    return lines.enumerated().map { index, line in
      (index == 0 ? label : String(repeating: " ", count: indent)) + line
    }
  }

  private func totals() -> [String] {
    var table = TextTable([.left, .right, .right, .right])
    table.add(["", "predicted", "measured", "difference"])
    for row in facts.costs {
      let label = row.unit.isEmpty ? row.label : "\(row.label), \(row.unit)"
      table.add([label, row.predictedText, row.measuredText, row.differenceText])
      if row.hasError {
        table.add(["  standard error", row.errorTexts.predicted, row.errorTexts.measured])
      }
      if row.atProfileSpeed != nil {
        table.add([
          "  at the profile's speed", "", row.atProfileSpeedText, row.atProfileSpeedDifferenceText,
        ])
      }
      if row.reference != nil {
        table.add([
          "  of the float model", "", row.referenceText, row.referenceDifferenceText,
        ])
      }
    }
    return table.lines(width: width)
  }

  private func certificate() -> [String] {
    let numbers = facts.objectiveAndBound
    return field(
      "certificate",
      "\(facts.statusText), gap \(ReportNumber.smallPercent(facts.plan.certificate.relativeGap)): "
        + "objective \(numbers.objective), bound \(numbers.bound) "
        + PlanRecord.objectiveUnit(facts.plan, facts.metric))
      + field("solver", facts.solverText)
      + facts.record.flatMap { field($0.name, $0.text) }
  }

  private func formats() -> [String] {
    guard !facts.shares.isEmpty else { return [] }
    var table = TextTable([.left, .right, .right, .left])
    let barWidth = max(10, width - 44)
    let largest = facts.shares.map(\.share).max() ?? 1
    for share in facts.shares {
      table.add([
        share.format.identifier, ReportNumber.percent(share.share),
        ReportNumber.bytes(share.storedBytes), Self.bar(share.share / largest, width: barWidth),
      ])
    }
    return ["formats, share of weights"] + table.lines(width: width)
  }

  /// A bar of blocks; the last one shows eighths.
  private static func bar(_ fraction: Double, width: Int) -> String {
    let eighths = max(1, Int((fraction * Double(width) * 8).rounded()))
    let partial = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"][eighths % 8]
    return String(repeating: "█", count: eighths / 8) + partial
  }

  private func layers() -> [String] {
    let map = facts.map
    guard !map.rows.isEmpty else { return [] }
    let hasMixed = map.rows.contains { row in
      row.cells.contains { $0.dominantFormat?.isMixed == true }
    }
    let labelWidth = min(24, max(5, map.rows.map { SafeText.columns($0.label) }.max() ?? 5))
    let headings = map.columns.map {
      SafeText.shortened($0.label, to: 14) + (hasMixed ? " " : "")
    }
    let widths = headings.map { max(4, SafeText.columns($0)) }
    var lines = [
      "bits by layer" + (hasMixed ? " (*: several formats, the bits of most weights)" : "")
    ]
    var start = 0
    while start < headings.count {
      var end = start
      var used = labelWidth
      while end < headings.count, end == start || used + 1 + widths[end] <= width {
        used += 1 + widths[end]
        end += 1
      }
      let heading = (start..<end).map { padded(headings[$0], widths[$0]) }
      lines.append(trimmed(([padded("layer", labelWidth)] + heading).joined(separator: " ")))
      for row in map.rows {
        let label = padded(SafeText.shortened(row.label, to: labelWidth), labelWidth)
        let cells = (start..<end).map {
          cell(row.cells[$0], width: widths[$0], marksMixed: hasMixed)
        }
        lines.append(trimmed(([label] + cells).joined(separator: " ")))
      }
      start = end
    }
    return lines
  }

  private func cell(_ members: [OperatorSummary], width: Int, marksMixed: Bool) -> String {
    guard let format = members.dominantFormat else {
      return padded(ReportNumber.missing + (marksMixed ? " " : ""), width)
    }
    let mark = marksMixed ? (format.isMixed ? "*" : " ") : ""
    let text = padded("\(format.bitWidth)\(mark)", width)
    guard color else { return text }
    let shade = Palette.shade(bitWidth: format.bitWidth)
    let ink = shade.terminalInkIsWhite ? 231 : 16
    return "\u{1B}[48;5;\(shade.terminalFill);38;5;\(ink)m\(text)\u{1B}[0m"
  }

  private func trimmed(_ line: String) -> String {
    var line = line
    while line.hasSuffix(" ") { line.removeLast() }
    return line
  }

  private func padded(_ text: String, _ width: Int) -> String {
    String(repeating: " ", count: max(0, width - SafeText.columns(text))) + text
  }

  private func outside() -> [String] {
    guard !facts.map.outside.isEmpty else { return [] }
    var names = TextTable([.left])
    var details = TextTable([.left, .left, .right, .right])
    for summary in facts.map.outside {
      let format = summary.dominant?.identifier ?? ReportNumber.missing
      let bits = ReportNumber.fixed(summary.bitsPerWeight, decimals: 3)
      names.add([summary.name])
      details.add([
        summary.shape, summary.isMixed ? format + "*" : format,
        ReportNumber.bytes(summary.storedBytes),
        summary.bitsPerWeight == nil ? bits : "\(bits) bits/weight",
      ])
    }
    let heading = facts.map.rows.isEmpty ? "operators" : "operators outside the layers"
    // Names are kept whole: side by side where there is room, else on lines of their own.
    let longest = facts.map.outside.map { SafeText.columns($0.name) }.max() ?? 0
    let isNarrow = longest + 2 + details.naturalWidth > width
    let detailLines = details.lines(width: isNarrow ? width - 2 : width - 2 - longest)
    var lines = [heading]
    for (name, detail) in zip(names.lines(width: width), detailLines) {
      if isNarrow {
        lines += [name, "  " + detail]
      } else {
        let gap = String(repeating: " ", count: longest + 2 - SafeText.columns(name))
        lines.append(name + gap + detail)
      }
    }
    return lines
  }

  private func uniformFormats() -> [String] {
    guard let comparison = facts.comparison else { return [] }
    var table = TextTable([.left, .right, .right, .right, .right])
    table.add(["", "bits/weight", "predicted", "measured", "vs. plan"])
    for row in comparison.rows {
      table.add([
        row.label, ReportNumber.fixed(row.bitsPerWeight, decimals: 3),
        ReportNumber.significant(row.predictedLoss, 4),
        ReportNumber.significant(row.measuredLoss, 4),
        comparison.ratioText(row),
      ])
    }
    return ["against one format everywhere: \(facts.metric.label), \(facts.metric.unit)"]
      + table.lines(width: width)
      + (comparison.verdict.map { TextFlow.wrapped($0, width: width) } ?? [])
  }

  private func warnings() -> [String] {
    facts.warnings.flatMap { TextFlow.wrapped("warning: \($0)", width: width, indent: 2) }
  }
}
