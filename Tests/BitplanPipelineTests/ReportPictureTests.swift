import BitplanCore
import BitplanPipeline
import BitplanTestSupport
import Testing

struct ReportPictureTests {
  private func picture(_ id: String, _ report: PlanReport) throws -> ReportElement {
    let page = try ReportXML.parse(report.html())
    return try #require(page.elements("svg").first { $0.attributes["id"] == id })
  }

  // MARK: The map

  @Test("a cell's tooltip has name, format, bytes and sensitivity; its text the bits")
  func cells() throws {
    let example = ReportFixtures.example()
    let map = try picture("map-0", example.report)
    let cells = map.elements(style: "cell")
    #expect(cells.count == example.plan.operators.count)
    for (assignment, row) in zip(example.plan.operators, example.sensitivity.rows) {
      let cell = try #require(
        cells.first { $0.children[0].text.hasPrefix("\(assignment.name)  ") })
      let format = assignment.segments[0].format
      let tooltip = cell.children[0].text
      let entry = try #require(row.entries.first { $0.format == format })
      #expect(tooltip.contains(ReportNumber.bytes(assignment.storedBytes)))
      #expect(tooltip.contains("\n\(format.identifier)"))
      let loss = ReportNumber.withError(entry.value, entry.standardError, digits: 3)
      #expect(tooltip.contains("predicted loss: \(loss) nats/token"))
      let bits = cell.elements("tspan").first?.text
      #expect(bits == "\(format.bitWidth)")
      #expect(!cell.elements(style: "w\(format.bitWidth)").isEmpty)
    }
  }

  @Test("stripes are as wide as the segments' shares, and fill the cell")
  func stripes() throws {
    let map = try picture("map-0", PlanReport(plan: ReportTextTests.smallPlan()))
    let cell = try #require(
      map.elements(style: "cell").first { $0.text.contains("layers.0.mlp.down_proj") })
    let rects = cell.elements("rect")
    let edge = try #require(rects.last)
    let (six, five) = (rects[0], rects[1])
    #expect(six.attributes["class"] == "w6" && five.attributes["class"] == "w5")
    let whole = try #require(edge.number("width"))
    // Coordinates have two decimals.
    #expect(abs(try #require(six.number("width")) - whole * 0.25) <= 0.01)
    #expect(abs(try #require(five.number("width")) - whole * 0.75) <= 0.01)
    #expect(six.number("x") == edge.number("x"))
  }

  @Test("deep models are split into panels, together complete")
  func panels() throws {
    var options = ReportFixtures.Options()
    options.layerCount = 80
    let example = ReportFixtures.example(options)
    let page = try ReportXML.parse(example.report.html())
    let panels = page.elements("svg").filter {
      ($0.attributes["id"] ?? "").hasPrefix("map-")
    }
    #expect(panels.count == 3)
    let names = panels.flatMap { $0.elements(style: "cell") }
      .compactMap { $0.children[0].text.split(separator: " ").first.map(String.init) }
    #expect(Set(names) == Set(example.plan.operators.map(\.name)))
    #expect(names.count == example.plan.operators.count)
  }

  @Test("encoders have their columns, embeddings above and the pooler below")
  func encoder() throws {
    var options = ReportFixtures.Options()
    options.architecture = "bert"
    options.layerCount = 6
    let map = try picture("map-0", ReportFixtures.example(options).report)
    let texts = map.elements("text").map(\.text)
    #expect(texts.prefix(1) == ["embeddings.word_embeddings"])
    #expect(texts.dropLast().last == "pooler.dense")
    let labels = map.elements(style: "heading").compactMap { $0.children.last?.text }
    #expect(
      labels.filter { ["q", "k", "v", "o", "up", "down"].contains($0) }
        == ["q", "k", "v", "o", "up", "down"])
  }

  // MARK: The front

  @Test("points stand where the axes say: equal factors of loss are equal heights")
  func frontPositions() throws {
    var plan = ReportTextTests.smallPlan()
    plan.front = [(2.0, 0.1), (4.0, 0.01), (6.0, 0.001), (7.0, 0), (8, .nan)]
      .map { Plan.FrontPoint(bitsPerWeight: $0.0, loss: $0.1) }
    for id in ["front-wide", "front-narrow"] {
      let dots = try picture(id, PlanReport(plan: plan)).elements("circle")
      #expect(dots.count == 3)
      let (x, y) = (dots.compactMap { $0.number("cx") }, dots.compactMap { $0.number("cy") })
      // Coordinates have two decimals, so a difference of differences is within 0.02.
      #expect(abs((y[1] - y[0]) - (y[2] - y[1])) <= 0.021)
      #expect(abs((x[1] - x[0]) - (x[2] - x[1])) <= 0.021)
      #expect(y[0] < y[1] && x[0] < x[1])
    }
  }

  @Test("the plan and uniform formats are marked once predicted and once measured")
  func marks() throws {
    let example = ReportFixtures.example()
    let front = try picture("front-wide", example.report)
    func marks(_ style: String, _ word: String) -> Int {
      front.elements(style: "point").filter { point in
        point.children.contains {
          let classes = ($0.attributes["class"] ?? "").split(separator: " ")
          return classes.contains("mark") && classes.contains(Substring(style))
            && classes.contains(Substring(word))
        }
      }.count
    }
    #expect(marks("plan", "predicted") == 1 && marks("plan", "measured") == 1)
    #expect(marks("uniform", "predicted") == example.comparisons.count)
    #expect(
      marks("uniform", "measured") == example.comparisons.filter { $0.measuredLoss != nil }.count)
    let labels = front.elements(style: "halo").map(\.text)
    #expect(labels.contains("this plan"))
    #expect(labels.count == example.comparisons.count + 1)
    #expect(front.elements(style: "budget").count == 1)
  }

  @Test("labels of crowded formats do not lie on each other")
  func crowdedLabels() throws {
    var example = ReportFixtures.example()
    example.comparisons = WeightFormat.evenSteps.enumerated().map { index, format in
      UniformComparison(
        format: format, bitsPerWeight: 4.2 + Double(index) * 0.01,
        predictedLoss: 0.05 + Double(index) * 1e-4, measuredLoss: nil)
    }
    let labels = try picture("front-wide", example.report).elements(style: "halo")
    #expect(labels.count < WeightFormat.evenSteps.count)
    let boxes = try labels.map { label -> (Double, Double, Double) in
      let (x, y) = (try #require(label.number("x")), try #require(label.number("y")))
      let width = Double(label.text.count) * 11 * 0.62
      let style = label.attributes["class"] ?? ""
      return (
        style.hasPrefix("end") ? x - width : style.hasPrefix("middle") ? x - width / 2 : x, y, width
      )
    }
    for (index, first) in boxes.enumerated() {
      for second in boxes.dropFirst(index + 1) {
        let isApart =
          abs(first.1 - second.1) >= 10 || first.0 + first.2 <= second.0 + 0.05
          || second.0 + second.2 <= first.0 + 0.05
        #expect(isApart)
      }
    }
  }

  // MARK: Bars

  @Test("bars are as long as their values say")
  func bars() throws {
    let plan = ReportTextTests.smallPlan()
    let picture = try picture("costs", PlanReport(plan: plan))
    let bars = picture.elements(style: "bar").filter { $0.children[0].text.hasPrefix("decode") }
    let widths = bars.compactMap { $0.elements("rect").first?.number("width") }
    #expect(widths.count == 2)
    #expect(abs(widths[1] / widths[0] - 0.67 / 0.61) < 1e-3)
    #expect(picture.elements(style: "budget").count == 2)
  }

  @Test("the parts add up to the whole: bytes exactly, decode time with what no operator owns")
  func breakdown() throws {
    let example = ReportFixtures.example()
    let bytes = try picture("bytes", example.report)
    let total = ReportNumber.fixed(Double(example.plan.predicted.storedBytes) / 1024, decimals: 0)
    #expect(bytes.children[1].text.hasPrefix("In all \(total) KiB. embed_tokens: "))
    let decode = try picture("decode", example.report)
    let time = (example.plan.predicted.decodeSecondsPerToken ?? 0) * 1e3
    #expect(
      decode.children[1].text.hasPrefix("In all \(ReportNumber.fixed(time, decimals: 3)) ms/token.")
    )
    // The fixture charges 9e-5 s and 6 % over the sum of the operators.
    let rest = time - (time - 0.09) / 1.06
    #expect(
      decode.children[1].text.contains("the rest: \(ReportNumber.fixed(rest, decimals: 3)) ms"))
    #expect(!decode.children[1].text.contains("embed_tokens"))
  }

  @Test("an embedding that is also the head takes decode time")
  func tiedEmbedding() throws {
    var example = ReportFixtures.example()
    example.plan.operators.removeLast()
    let report = PlanReport(plan: example.plan, profile: example.profile)
    #expect(try picture("decode", report).children[1].text.contains("embed_tokens"))
  }

  @Test("an operator that the profile does not know is counted, not guessed")
  func unknownTimes() throws {
    var example = ReportFixtures.example()
    example.profile.measurements.removeAll { $0.shape.outputFeatures == 4096 }
    let document = example.report.html()
    #expect(document.contains("ms/token (not known for 1 operators)"))
    #expect(!document.contains("the rest"))
  }
}
