import BitplanCore

/// Loss against size: the Pareto front, the plan, and uniform formats, on a logarithmic loss axis.
struct FrontPicture {
  /// What to draw.
  let facts: ReportFacts
  /// Width in user units; text keeps its size, so a narrow picture has fewer ticks and labels.
  let width: Double
  /// Unique in the document.
  let id: String

  private let left = 52.0
  private let top = 26.0
  private let bottom = 40.0
  private let right = 12.0
  private let fontSize = 11.0

  private var height: Double { min(470, width * 0.7 + 70) }
  private var metric: MetricName { facts.metric }

  /// One marked place: what a format or the plan costs and loses.
  private struct Mark {
    let label: String
    let bitsPerWeight: Double
    let loss: Double
    let error: Double?
    let style: String
    let tooltip: String
  }

  /// The picture, or `nil` where no loss is positive: then there is nothing to draw on this axis.
  func markup() -> Markup? {
    let whole = facts.front.map { front in
      front.points.compactMap { point in
        metric.loss(point.predicted).map {
          Plan.FrontPoint(bitsPerWeight: point.predicted.bitsPerWeight, loss: $0)
        }
      }
    }
    let front = (whole ?? facts.plan.front ?? []).filter {
      Self.isDrawable($0.bitsPerWeight, $0.loss)
    }
    .sorted { ($0.bitsPerWeight, $0.loss) < ($1.bitsPerWeight, $1.loss) }
    let plan = planMarks()
    let uniform = uniformMarks() + ruleMarks()
    let marks = plan + uniform
    let limits = facts.plan.budgets.filter { $0.kind == .bitsPerWeight }.map(\.limit)
    guard
      let xAxis = LinearAxis(
        front.map(\.bitsPerWeight) + marks.map(\.bitsPerWeight), count: width > 500 ? 8 : 5),
      let yAxis = LogAxis(front.map(\.loss) + marks.map(\.loss))
    else { return nil }

    let canvas = Canvas(
      xAxis: xAxis, yAxis: yAxis, left: left, right: width - right, top: top,
      bottom: height - bottom)
    var placer = LabelPlacer(
      bounds: LabelPlacer.Box(
        minX: left + 2, minY: top, maxX: width - 2, maxY: height - bottom - 1))
    let legend = legend(hasFront: !front.isEmpty, plan: plan, uniform: uniform, &placer)
    var shapes = axes(canvas)
    shapes += limits.filter(xAxis.range.contains).map { limit in
      let x = canvas.x(limit)
      return SVG.group(
        "budget", tooltip: "budget: \(ReportNumber.significant(limit, 4)) bits/weight",
        [SVG.line(x, top, x, height - bottom, "limit")])
    }
    for point in front {
      placer.occupy(canvas.x(point.bitsPerWeight), canvas.y(point.loss), radius: 3)
    }
    for mark in marks {
      placer.occupy(
        canvas.x(mark.bitsPerWeight), canvas.y(mark.loss),
        radius: mark.style.hasPrefix("plan") ? 7 : 4.5)
    }
    shapes += frontShapes(front, canvas)
    shapes += uniform.map { draw($0, canvas) }
    shapes += plan.map { draw($0, canvas) }
    shapes += legend
    var labelled: Set<String> = []
    for mark in plan.reversed() + uniform.reversed() where labelled.insert(mark.label).inserted {
      shapes += label(mark, canvas, &placer)
    }
    return SVG.picture(
      id: id, title: "\(metric.label) against stored bits per weight",
      description: description(front, plan, uniform), width: width, height: height,
      minimumWidth: min(width, 340) * 0.84, maximumWidth: width * 1.1, shapes)
  }

  // MARK: What is drawn

  private static func isDrawable(_ bits: Double, _ loss: Double?) -> Bool {
    bits.isFinite && bits > 0 && bits < 1000 && (loss.map { $0 > 0 && $0.isFinite } ?? false)
  }

  private func planMarks() -> [Mark] {
    func mark(_ costs: Plan.Costs?, _ word: String) -> Mark? {
      guard let costs, let loss = metric.loss(costs), Self.isDrawable(costs.bitsPerWeight, loss)
      else { return nil }
      let error = metric.standardError(costs)
      return Mark(
        label: "this plan", bitsPerWeight: costs.bitsPerWeight, loss: loss, error: error,
        style: "plan \(word)",
        tooltip: tooltip("this plan, \(word)", costs.bitsPerWeight, loss, error))
    }
    return [mark(facts.plan.predicted, "predicted"), mark(facts.plan.measured, "measured")]
      .compactMap { $0 }
  }

  private func uniformMarks() -> [Mark] {
    (facts.comparison?.rows ?? []).flatMap { row -> [Mark] in
      guard let format = row.format else { return [] }
      return [(row.predictedLoss, "predicted"), (row.measuredLoss, "measured")]
        .compactMap { loss, word in
          guard let loss, Self.isDrawable(row.bitsPerWeight, loss) else { return nil }
          return Mark(
            label: format.identifier, bitsPerWeight: row.bitsPerWeight, loss: loss, error: nil,
            style: "uniform \(word)",
            tooltip: tooltip(
              "\(format.identifier) everywhere, \(word)", row.bitsPerWeight, loss, nil))
        }
    }
  }

  /// Rules that the front was held against, such as MixLLM's.
  private func ruleMarks() -> [Mark] {
    (facts.front?.references ?? []).compactMap { reference in
      guard WeightFormat(identifier: reference.name) == nil,
        let loss = metric.loss(reference.predicted),
        Self.isDrawable(reference.predicted.bitsPerWeight, loss)
      else { return nil }
      let name = SafeText.visible(reference.name)
      return Mark(
        label: name, bitsPerWeight: reference.predicted.bitsPerWeight, loss: loss, error: nil,
        style: "uniform predicted",
        tooltip: tooltip("\(name), predicted", reference.predicted.bitsPerWeight, loss, nil))
    }
  }

  private func tooltip(_ name: String, _ bits: Double, _ loss: Double, _ error: Double?) -> String {
    "\(name)\n\(ReportNumber.fixed(bits, decimals: 3)) bits/weight\n\(metric.text(loss, error))"
  }

  /// From values to places.
  private struct Canvas {
    let xAxis: LinearAxis
    let yAxis: LogAxis
    let left, right, top, bottom: Double

    func x(_ bits: Double) -> Double { left + xAxis.position(bits) * (right - left) }
    func y(_ loss: Double) -> Double { bottom - yAxis.position(loss) * (bottom - top) }
  }

  private func axes(_ canvas: Canvas) -> [Markup] {
    var shapes: [Markup] = []
    for tick in canvas.yAxis.ticks {
      let y = canvas.y(tick)
      shapes.append(SVG.line(left, y, width - right, y, "grid"))
      shapes.append(SVG.text(left - 6, y + 4, Self.tickText(tick), "end muted"))
    }
    for tick in canvas.xAxis.ticks {
      let x = canvas.x(tick)
      shapes.append(SVG.line(x, height - bottom, x, height - bottom + 4, "axis"))
      shapes.append(
        SVG.text(
          x, height - bottom + 17, ReportNumber.fixed(tick, decimals: canvas.xAxis.decimals),
          "middle muted"))
    }
    shapes.append(SVG.line(left, height - bottom, width - right, height - bottom, "axis"))
    shapes.append(
      SVG.text(2, 14, "\(metric.label), \(metric.unit) (logarithmic)", "start strong"))
    shapes.append(SVG.text(width - right, height - 6, "stored bits per weight", "end strong"))
    return shapes
  }

  /// The fewest digits that say a round number: `0.02`, `0.015`.
  private static func tickText(_ tick: Double) -> String {
    let short = ReportNumber.significant(tick, 1)
    return Double(short) == tick ? short : ReportNumber.significant(tick, 2)
  }

  private func frontShapes(_ front: [Plan.FrontPoint], _ canvas: Canvas) -> [Markup] {
    let points = front.map { (canvas.x($0.bitsPerWeight), canvas.y($0.loss)) }
    let path = points.enumerated().map { index, point in
      "\(index == 0 ? "M" : "L")\(Markup.number(point.0)) \(Markup.number(point.1))"
    }.joined(separator: " ")
    var shapes: [Markup] = []
    if points.count > 1 { shapes.append(.tag("path", ["d": path, "class": "front"])) }
    for (value, point) in zip(front, points) {
      shapes.append(
        SVG.group(
          "point", tooltip: tooltip("front, predicted", value.bitsPerWeight, value.loss, nil),
          [
            .tag(
              "circle",
              [
                "cx": Markup.number(point.0), "cy": Markup.number(point.1), "r": "2.5",
                "class": "frontDot",
              ])
          ]))
    }
    return shapes
  }

  private func draw(_ mark: Mark, _ canvas: Canvas) -> Markup {
    let (x, y) = (canvas.x(mark.bitsPerWeight), canvas.y(mark.loss))
    var shapes: [Markup] = []
    if let error = mark.error, error > 0, error.isFinite {
      let (high, low) = (canvas.y(mark.loss + error), canvas.y(mark.loss - error))
      shapes.append(SVG.line(x, high, x, low, "error"))
    }
    shapes.append(Self.symbol(x, y, mark.style))
    return SVG.group("point", tooltip: mark.tooltip, shapes)
  }

  /// A diamond for the plan, a square for uniform formats; hollow where predicted.
  private static func symbol(_ x: Double, _ y: Double, _ style: String) -> Markup {
    guard style.hasPrefix("plan") else {
      return SVG.rect(x - 3.5, y - 3.5, 7, 7, "mark \(style)")
    }
    let radius = 6.5
    let corners = [(x, y - radius), (x + radius, y), (x, y + radius), (x - radius, y)]
    return .tag(
      "polygon",
      [
        "points": corners.map { "\(Markup.number($0.0)),\(Markup.number($0.1))" }
          .joined(separator: " "),
        "class": "mark \(style)",
      ])
  }

  private func label(_ mark: Mark, _ canvas: Canvas, _ placer: inout LabelPlacer) -> [Markup] {
    let (x, y) = (canvas.x(mark.bitsPerWeight), canvas.y(mark.loss))
    let position = placer.place(
      mark.label, besideX: x, y: y, fontSize: fontSize,
      distance: mark.style.hasPrefix("plan") ? 10.5 : 8.5)
    guard let position else { return [] }
    let style = mark.style.hasPrefix("plan") ? "strong planLabel" : "uniformLabel"
    return [SVG.text(position.x, position.y, mark.label, "\(position.anchor) halo \(style)")]
  }

  /// Symbols and their meaning, in the corner that a falling curve leaves free.
  private func legend(
    hasFront: Bool, plan: [Mark], uniform: [Mark], _ placer: inout LabelPlacer
  ) -> [Markup] {
    var entries: [(String, String)] = []
    if hasFront { entries.append(("front", "lowest predicted loss")) }
    for mark in plan {
      entries.append((mark.style, "this plan, \(mark.style.split(separator: " ")[1])"))
    }
    for word in ["predicted", "measured"]
    where uniform.contains(where: { $0.style.hasSuffix(word) }) {
      entries.append(
        (
          "uniform \(word)",
          word == "predicted" && facts.front != nil
            ? "formats, rules, predicted" : "one format, \(word)"
        ))
    }
    let (lineHeight, boxWidth) = (15.0, 138.0)
    let x = width - right - boxWidth
    var y = top + 12
    var shapes: [Markup] = []
    for (style, text) in entries {
      if style == "front" {
        shapes.append(SVG.line(x - 6, y - 4, x + 6, y - 4, "front"))
      } else {
        shapes.append(Self.symbol(x, y - 4, style))
      }
      shapes.append(SVG.text(x + 12, y, text, "start muted"))
      y += lineHeight
    }
    let middle = (top + y) / 2
    // The placer knows squares only: cover the box with a row of them.
    for step in stride(from: x - 8, through: width - right, by: 20) {
      placer.occupy(step, middle, radius: (y - top) / 2)
    }
    return shapes
  }

  private func description(_ front: [Plan.FrontPoint], _ plan: [Mark], _ uniform: [Mark]) -> String
  {
    var sentences: [String] = []
    if let first = front.first, let last = front.last {
      sentences.append(
        "The front has \(front.count) points, from "
          + "\(ReportNumber.fixed(first.bitsPerWeight, decimals: 3)) bits/weight with "
          + "\(metric.text(first.loss)) to \(ReportNumber.fixed(last.bitsPerWeight, decimals: 3)) "
          + "bits/weight with \(metric.text(last.loss)).")
    }
    sentences += (plan + uniform).map {
      $0.tooltip.split(separator: "\n").joined(separator: ": ") + "."
    }
    return sentences.joined(separator: " ")
  }
}
