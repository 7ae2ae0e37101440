import BitplanCore

/// The report as one HTML document.
struct HTMLReport {
  /// What to show.
  let facts: ReportFacts

  /// The document.
  func rendered() -> String {
    let page = Markup.tag(
      "html", ["xmlns": "http://www.w3.org/1999/xhtml", "lang": "en"],
      [head(), .tag("body", [:], [header(), main(), footer()])])
    return "<!DOCTYPE html>\n" + page.rendered()
  }

  private func head() -> Markup {
    .tag(
      "head", [:],
      [
        .tag("meta", ["charset": "utf-8"]),
        // Nothing is fetched and no script runs, whatever a name may hold.
        .tag(
          "meta",
          [
            "http-equiv": "Content-Security-Policy",
            "content": "default-src 'none'; style-src 'unsafe-inline'",
          ]),
        .tag("meta", ["name": "viewport", "content": "width=device-width, initial-scale=1"]),
        .tag("meta", ["name": "generator", "content": "Bitplan"]),
        .tag("title", text: "\(facts.modelName): Bitplan plan"),
        .tag(
          "style", [:], [.styleSheet(ReportStyles.sheet), .computedStyles(ReportStyles.shades)]),
      ])
  }

  private func header() -> Markup {
    let weights = ReportNumber.grouped(facts.plan.model.plannedWeightCount)
    return .tag(
      "header", [:],
      [
        .tag("h1", text: facts.modelName),
        .tag(
          "p", ["class": "lead"],
          text: "A bit width for every operator: \(facts.architecture) with \(weights) planned "
            + "weights. Device: \(facts.deviceText). Budgets: \(facts.budgetsText)."),
        .tag("div", ["class": "tiles"], facts.costs.compactMap(tile) + [certificateTile()]),
      ] + facts.record.map(recordLine)
        + facts.warnings.map { .tag("p", ["class": "warning"], text: $0) })
  }

  private func recordLine(_ line: PlanRecord.Line) -> Markup {
    let title = line.name.prefix(1).uppercased() + line.name.dropFirst()
    return .tag("p", ["class": "muted"], [.tag("strong", text: title + ": "), .text(line.text)])
  }

  private func tile(_ row: CostRow) -> Markup? {
    let isShown: Bool
    switch row.kind {
    case .exactBytes: isShown = !facts.costs.contains { $0.kind == .storedBytes }
    case .perplexity: isShown = false
    case .prefill, .decode: isShown = row.predicted != nil || row.measured != nil
    default: isShown = true
    }
    guard isShown else { return nil }
    let name = row.kind == .bitsPerWeight ? "bits per weight" : row.label
    let hasMeasured = row.measured != nil
    let value = hasMeasured ? row.measuredText : row.predictedText
    var details: [String] = []
    if hasMeasured, row.predicted != nil {
      let difference = row.differenceText
      details.append(
        difference == "equal"
          ? "measured, as predicted" : "measured, predicted \(row.predictedText) (\(difference))")
    } else {
      details.append(hasMeasured ? "measured" : "predicted")
    }
    if row.limit != nil { details.append("budget \(row.limitText)") }
    if row.kind == .loss, let perplexity = facts.costs.first(where: { $0.kind == .perplexity }) {
      let value = perplexity.measured == nil ? perplexity.predictedText : perplexity.measuredText
      let reference = perplexity.reference.map { _ in ", float model \(perplexity.referenceText)" }
      details.append("perplexity \(value)\(reference ?? "")")
    }
    return Self.tile(name, value, row.unit, details.joined(separator: "; "))
  }

  private func certificateTile() -> Markup {
    Self.tile(
      "from the best plan", ReportNumber.smallPercent(facts.plan.certificate.relativeGap),
      "at most", "\(facts.statusText), \(facts.solverText)")
  }

  private static func tile(
    _ name: String, _ value: String, _ unit: String, _ detail: String
  ) -> Markup {
    .tag(
      "div", ["class": "tile"],
      [
        .tag("p", ["class": "name"], text: name),
        .tag("p", ["class": "value"], [.text(value + " "), .tag("small", text: unit)]),
        .tag("p", ["class": "detail muted"], text: detail),
      ])
  }

  private func main() -> Markup {
    let heatMap = HeatMapPicture(facts: facts)
    let map = section("Which operator got which width", mapLead(), mapLegend() + panels(heatMap))
    let tables = ReportTables(facts: facts)
    let front = frontSection()
    let bars = CostBarsPicture(facts: facts).markup().map { [$0] } ?? []
    let costs = section(
      "Predicted and measured",
      facts.plan.measured == nil
        ? "This plan has not been executed yet: run plan validate to measure it."
        : "What the artifacts predict, and what executing the packed model gave.",
      [.tag("div", ["class": "panels two"], [tables.costs()] + bars)])
    let comparison = tables.comparison().map {
      section(
        "Against one format everywhere",
        "\(facts.metric.label), \(facts.metric.unit), smallest first.", $0)
    }
    let formats = section("Formats in use", nil, [tables.formats()])
    let isDeep = heatMap.panelCount > 1
    // A deep map takes the whole width; else it stands beside the front.
    let pictures = isDeep ? [map, pair(front, comparison ?? formats)] : [pair(map, front)]
    let others =
      isDeep ? (comparison == nil ? [] : [formats]) : [pair(formats, comparison)]
    return .tag(
      "main", [:],
      pictures + [costs] + whereItGoes() + others
        + [
          section("All operators", nil, [tables.operators()], style: "long"),
          section("Where this plan comes from", nil, tables.provenance()),
          section(
            "How to make it again",
            "MODEL stands for the checkpoint or its folder; its tensors have the hash above.",
            [.tag("pre", [:], [.tag("code", text: commands())])]),
        ])
  }

  /// Two sections side by side where there is room.
  private func pair(_ first: Markup, _ second: Markup?) -> Markup {
    second.map { .tag("div", ["class": "pair"], [first, $0]) } ?? first
  }

  private func section(
    _ title: String, _ lead: String?, _ content: [Markup], style: String = "card"
  ) -> Markup {
    .tag(
      "section", ["class": style],
      [.tag("h2", text: title)] + (lead.map { [.tag("p", ["class": "lead"], text: $0)] } ?? [])
        + content)
  }

  // MARK: The map

  private func mapLead() -> String {
    let isSegmented = facts.operators.contains { $0.isMixed }
    return "Bits of a code and, small, input features in a group. The legend has the share of "
      + "weights."
      + (isSegmented
        ? " A striped cell has rows in several formats, each stripe as wide as its share." : "")
  }

  private func mapLegend() -> [Markup] {
    let used = Set(facts.shares.map { Palette.shade(bitWidth: $0.format.bitWidth).bitWidth })
    let widths = Set(facts.shares.map(\.format.bitWidth)).sorted()
    guard !used.isEmpty else { return [] }
    return [
      .tag(
        "div", ["class": "legend"],
        widths.map { width in
          let share = facts.shares.filter { $0.format.bitWidth == width }
            .reduce(0) { $0 + $1.share }
          return .tag(
            "span", ["class": "chip c\(Palette.shade(bitWidth: width).bitWidth)"],
            text: "\(width) bits: \(ReportNumber.percent(share))")
        })
    ]
  }

  private func panels(_ heatMap: HeatMapPicture) -> [Markup] {
    guard !facts.operators.isEmpty else {
      return [.tag("p", ["class": "muted"], text: "The plan has no operators.")]
    }
    return heatMap.panelCount > 1
      ? [.tag("div", ["class": "panels"], heatMap.markup())] : heatMap.markup()
  }

  // MARK: Other pictures

  private func frontSection() -> Markup {
    // Drawn twice, so that text keeps its size on a telephone; the style shows one of them.
    let wide = FrontPicture(facts: facts, width: 560, id: "front-wide").markup()
    let narrow = FrontPicture(facts: facts, width: 350, id: "front-narrow").markup()
    let pictures =
      [("onlyWide", wide), ("onlyNarrow", narrow)].compactMap { style, picture in
        picture.map { Markup.tag("div", ["class": style], [$0]) }
      }
    let lead =
      facts.plan.front == nil
      ? "The file holds no front: what is drawn is the plan itself"
        + (facts.comparison == nil ? "." : " and uniform formats.")
      : "The line is the lowest predicted loss at each size; what lies above it is worse."
    return section(
      "Loss against size", lead,
      pictures.isEmpty
        ? [.tag("p", ["class": "muted"], text: "No loss is known, so there is nothing to draw.")]
        : pictures)
  }

  private func whereItGoes() -> [Markup] {
    var panels: [Markup] = []
    func panel(
      _ breakdown: CostBreakdown?, _ id: String, _ title: String,
      _ unit: (Double) -> (String, Double)
    ) {
      guard let breakdown else { return }
      let (unit, scale) = unit(breakdown.rows.map(\.total).max() ?? 1)
      let picture = BreakdownPicture(
        breakdown: breakdown, id: id, title: "\(title), \(unit), by operator type", unit: unit,
        scale: scale)
      let note = ", \(unit)" + Self.unknownNote(breakdown)
      panels.append(
        .tag(
          "div", [:],
          [.tag("p", [:], [.tag("strong", text: title), .text(note)]), picture.markup()]))
    }
    panel(facts.bytesBreakdown, "bytes", "Stored size") {
      let unit = ByteUnit.suiting(Int($0))
      return (unit.name, unit.scale)
    }
    panel(facts.decodeBreakdown, "decode", "Decode time") {
      let unit = TimeUnit.suiting($0)
      return ("\(unit.name)/token", unit.scale)
    }
    panel(facts.lossBreakdown, "loss", "Predicted \(facts.metric.label)") { _ in
      (facts.metric.unit, 1)
    }
    guard !panels.isEmpty else { return [] }
    var lead = "Each bar is split by bit width, narrow to wide."
    if facts.decodeBreakdown?.rows.contains(where: { $0.parts[0].bitWidth == nil }) == true {
      lead += " The rest is decode time that no operator owns: norms, attention, hand-over."
    }
    return [section("Where it goes", lead, [.tag("div", ["class": "panels"], panels)])]
  }

  private static func unknownNote(_ breakdown: CostBreakdown) -> String {
    breakdown.unknownCount == 0
      ? "" : " (not known for \(breakdown.unknownCount) operators)"
  }

  private func commands() -> String {
    ReproduceCommands(
      plan: facts.plan, sensitivity: facts.sensitivity, profile: facts.profile
    ).lines.joined(separator: "\n")
  }

  private func footer() -> Markup {
    .tag(
      "footer", [:],
      [
        .tag(
          "p",
          text:
            "Made by Bitplan from the plan and its artifacts alone; the same files give the same "
            + "page. Bits count all that is stored: codes, scales, zero points, row maps, padding.")
      ])
  }
}
