import BitplanCore

/// The tables of the HTML report.
struct ReportTables {
  /// What to show.
  let facts: ReportFacts

  // MARK: Predicted and measured

  /// Every cost, predicted beside measured.
  func costs() -> Markup {
    let rows = facts.costs.map { row -> Markup in
      let limit = row.limit == nil ? [] : [Self.sub("budget \(row.limitText)")]
      let unit = row.unit.isEmpty ? [] : [Self.sub(row.unit)]
      var (others, otherDifferences): ([Markup], [Markup]) = ([], [])
      if row.reference != nil {
        others.append(Self.sub("float model \(row.referenceText)"))
        otherDifferences.append(Self.sub(row.referenceDifferenceText))
      }
      if row.atProfileSpeed != nil {
        others.append(Self.sub("\(row.atProfileSpeedText) at the profile's speed"))
        otherDifferences.append(Self.sub(row.atProfileSpeedDifferenceText))
      }
      return .tag(
        "tr", [:],
        [
          .tag("th", ["scope": "row"], [.text(row.label)] + unit),
          .tag(
            "td", ["class": "number"],
            [.text(row.predictedText)] + Self.errorNote(row.errorTexts.predicted) + limit),
          .tag(
            "td", ["class": "number"],
            [.text(row.measuredText)] + Self.errorNote(row.errorTexts.measured) + others),
          .tag("td", ["class": "number"], [.text(row.differenceText)] + otherDifferences),
        ])
    }
    return Self.table(
      "Costs, predicted and measured",
      [("", false), ("predicted", true), ("measured", true), ("difference", true)], rows)
  }

  private static func errorNote(_ error: String) -> [Markup] {
    error == ReportNumber.missing ? [] : [sub("± \(error)")]
  }

  // MARK: Formats

  /// Share of every format in use.
  func formats() -> Markup {
    let largest = facts.shares.map(\.share).max() ?? 1
    let rows = facts.shares.map { share -> Markup in
      let shade = Palette.shade(bitWidth: share.format.bitWidth).bitWidth
      let width = Markup.number(share.share / largest * 100)
      return .tag(
        "tr", [:],
        [
          .tag("th", ["scope": "row"], [Self.chip(share.format)]),
          .tag("td", ["class": "number"], text: ReportNumber.percent(share.share)),
          .tag("td", ["class": "number"], text: ReportNumber.bytes(share.storedBytes)),
          .tag(
            "td", ["class": "bar"],
            [.tag("span", ["class": "c\(shade)", "style": "width:\(width)%"])]),
        ])
    }
    return Self.table(
      "Formats in use",
      [("format", false), ("weights", true), ("stored", true), ("share of weights", false)], rows)
  }

  // MARK: Uniform formats

  /// The plan among uniform formats, with the verdict; `nil` without any.
  func comparison() -> [Markup]? {
    guard let comparison = facts.comparison else { return nil }
    let rows = comparison.rows.map { row -> Markup in
      let name = row.format.map { [Self.chip($0)] } ?? [.text(row.label)]
      return .tag(
        "tr", ["class": row.format == nil ? "own" : "uniformRow"],
        [
          .tag("th", ["scope": "row"], name),
          .tag(
            "td", ["class": "number"], text: ReportNumber.fixed(row.bitsPerWeight, decimals: 3)),
          .tag("td", ["class": "number"], text: ReportNumber.significant(row.predictedLoss, 3)),
          .tag("td", ["class": "number"], text: ReportNumber.significant(row.measuredLoss, 3)),
          .tag(
            "td", ["class": "number"],
            text: comparison.ratioText(row)),
        ])
    }
    let table = Self.table(
      "The plan among uniform formats",
      [
        ("format", false), ("bits per weight", true), ("predicted", true), ("measured", true),
        ("vs. plan", true),
      ], rows)
    return [table] + (comparison.verdict.map { [.tag("p", ["class": "verdict"], text: $0)] } ?? [])
  }

  // MARK: Operators

  /// Every operator in the plan's order.
  func operators() -> Markup {
    let hasTimes = facts.decodeBreakdown != nil
    let hasLosses = facts.lossBreakdown != nil
    var headings: [(String, Bool)] = [
      ("operator", false), ("formats", false), ("bits/weight", true), ("stored", true),
    ]
    if hasTimes { headings.append(("decode, per token", true)) }
    if hasLosses { headings.append(("predicted loss, \(facts.metric.unit)", true)) }
    let rows = facts.operators.map { summary -> Markup in
      var cells: [Markup] = [
        .tag(
          "th", ["scope": "row", "class": "name"],
          [.text(summary.name), Self.sub(summary.shape)]),
        .tag(
          "td", [:],
          summary.segments.flatMap { segment(summary, $0) }
            + (summary.branch.map { [.text(" + \($0.identifier)")] } ?? [])),
        .tag(
          "td", ["class": "number"], text: ReportNumber.fixed(summary.bitsPerWeight, decimals: 3)),
        .tag("td", ["class": "number"], text: ReportNumber.bytes(summary.storedBytes)),
      ]
      if hasTimes {
        let text = summary.isMultiplied ? ReportNumber.seconds(summary.decodeSeconds) : "looked up"
        cells.append(.tag("td", ["class": "number"], text: text))
      }
      if hasLosses {
        cells.append(
          .tag(
            "td", ["class": "number"],
            text: ReportNumber.withError(
              summary.predictedLoss, summary.predictedLossError, digits: 3)))
      }
      return .tag("tr", [:], cells)
    }
    return .tag(
      "details", facts.operators.count <= 12 ? ["open": "open"] : [:],
      [
        .tag("summary", text: "Show all \(ReportNumber.grouped(facts.operators.count))"),
        Self.table("All operators", headings, rows),
      ])
  }

  private func segment(
    _ summary: OperatorSummary, _ segment: OperatorSummary.Segment
  ) -> [Markup] {
    summary.segments.count == 1
      ? [Self.chip(segment.format)]
      : [Self.chip(segment.format, ReportNumber.percent(segment.share)), .text(" ")]
  }

  // MARK: Provenance

  /// Hashes and conditions of everything the plan came from.
  func provenance() -> [Markup] {
    let plan = facts.plan
    var rows = [
      Self.source(
        "model", facts.modelName, plan.model.sha256, [("architecture", facts.architecture)])
    ]
    if let device = plan.device {
      var details = [("times", device.simulated ? "simulated" : "measured")]
      if let key = facts.profile?.key {
        details += [
          ("CPU", key.cpuModel), ("instruction set", key.instructionSet),
          ("threads", "\(key.threadCount)"), ("kernel build", key.kernelBuild),
        ]
      }
      rows.append(Self.source("device profile", device.name, device.profileSHA256, details))
    }
    var details = [
      ("metric", "\(facts.metric.label), \(facts.metric.unit)"),
      ("quantizer", plan.sensitivity.quantizer),
    ]
    if let transforms = plan.transforms, !transforms.isEmpty {
      details.append(("equivalence transforms", "\(transforms.count)"))
    }
    if let table = facts.sensitivity {
      details += [
        ("method", table.options.method), ("seed", "\(table.options.seed)"),
        ("passes", "\(table.passesMade ?? table.options.passCount)"),
        ("8-bit activations alone", facts.metric.text(table.activationCost)),
      ]
    }
    rows.append(Self.source("sensitivity", facts.metric.label, plan.sensitivity.sha256, details))
    if let calibration = facts.sensitivity?.calibration {
      rows.append(
        Self.source(
          "calibration tokens", calibration.name, calibration.sha256,
          [
            ("windows", "\(calibration.windowCount)"),
            ("tokens in a window", "\(calibration.windowTokens)"),
          ]))
    }
    let numbers = facts.objectiveAndBound
    let proof =
      "\(facts.statusText); objective \(numbers.objective), bound \(numbers.bound) "
      + "\(facts.metric.suffix), gap \(ReportNumber.smallPercent(plan.certificate.relativeGap)); "
      + facts.solverText
    rows.append(
      .tag(
        "tr", [:],
        [
          .tag("th", ["scope": "row"], text: "certificate"),
          .tag("td", ["class": "name"], text: proof),
        ]))
    return [
      Self.table("Provenance", [("", false), ("what, and its SHA-256", false)], rows)
    ]
  }

  private static func source(
    _ kind: String, _ name: String, _ hash: String, _ details: [(String, String)]
  ) -> Markup {
    let text = details.map { "\($0.0): \(SafeText.visible($0.1))" }.joined(separator: "; ")
    return .tag(
      "tr", [:],
      [
        .tag("th", ["scope": "row"], text: kind),
        .tag(
          "td", ["class": "name"],
          [
            .text(SafeText.visible(name)), sub(text),
            .tag("code", ["class": "hash"], text: SafeText.visible(hash)),
          ]),
      ])
  }

  // MARK: Pieces

  private static func chip(_ format: WeightFormat, _ note: String? = nil) -> Markup {
    let shade = Palette.shade(bitWidth: format.bitWidth).bitWidth
    return .tag(
      "span", ["class": "chip c\(shade)"],
      text: note.map { "\(format.identifier) \($0)" } ?? format.identifier)
  }

  private static func sub(_ text: String) -> Markup { .tag("span", ["class": "sub"], text: text) }

  /// A table with headings; numbers stand at the right.
  private static func table(
    _ label: String, _ headings: [(title: String, isNumber: Bool)], _ rows: [Markup]
  ) -> Markup {
    let cells = headings.map { heading -> Markup in
      // An empty heading is a corner, not the heading of a column.
      heading.title.isEmpty
        ? .tag("td", [:], [])
        : .tag(
          "th", ["scope": "col", "class": heading.isNumber ? "number" : "word"],
          text: heading.title)
    }
    return .tag(
      "div", ["class": "wide"],
      [
        .tag(
          "table", ["aria-label": label],
          [
            .tag("thead", [:], [.tag("tr", [:], cells)]),
            .tag("tbody", [:], rows),
          ])
      ])
  }
}
