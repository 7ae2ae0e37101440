import BitplanCore
import BitplanPipeline
import Foundation
import Testing

struct ReportPageTests {
  @Test("the page and every picture are well-formed, and pictures speak", arguments: 0..<6)
  func wellFormed(_ variant: Int) throws {
    let example = ReportFixtures.variantExamples[variant]
    let document = example.report.html()
    let page = try ReportXML.parse(document)
    #expect(page.name == "html")
    let pictures = ReportXML.pictures(in: document)
    #expect(pictures.count == page.elements("svg").count)
    #expect(pictures.count >= 6)
    for source in pictures {
      let picture = try ReportXML.parse(source)
      #expect(picture.attributes["role"] == "img")
      let labels = (picture.attributes["aria-labelledby"] ?? "").split(separator: " ")
      let ids = picture.children.prefix(2).compactMap { $0.attributes["id"] }
      #expect(labels.map(String.init) == ids)
      #expect(picture.children[0].name == "title" && !picture.children[0].text.isEmpty)
      #expect(picture.children[1].name == "desc" && !picture.children[1].text.isEmpty)
    }
    let ids = page.all.compactMap { $0.attributes["id"] }
    #expect(Set(ids).count == ids.count)
  }

  @Test("nothing is fetched, nothing runs, nothing is not a number")
  func selfContained() throws {
    for example in ReportFixtures.variantExamples {
      let document = example.report.html()
      let page = try ReportXML.parse(document)
      for element in page.all {
        #expect(
          !["script", "link", "img", "iframe", "object", "image", "use"].contains(element.name))
        for (name, value) in element.attributes {
          #expect(!["src", "href", "xlink:href", "data"].contains(name))
          #expect(!name.hasPrefix("on"))
          #expect(!value.contains("url("))
          let numeric = ["x", "y", "x1", "y1", "x2", "y2", "width", "height", "cx", "cy", "dx"]
          if numeric.contains(name) { #expect(Double(value)?.isFinite == true) }
        }
      }
      let addresses = document.components(separatedBy: "http").dropFirst()
      #expect(addresses.allSatisfy { $0.hasPrefix("://www.w3.org/") || $0.hasPrefix("-equiv") })
      #expect(!document.contains("@import") && !document.contains("url("))
      #expect(
        document.range(of: #"\b(nan|inf)\b"#, options: [.regularExpression, .caseInsensitive])
          == nil)
      #expect(page.elements("meta").contains { $0.attributes["name"] == "viewport" })
      #expect(document.contains("prefers-color-scheme: dark"))
      #expect(document.contains("@media print"))
    }
  }

  @Test("equal values give equal bytes")
  func deterministic() {
    for (first, options) in zip(ReportFixtures.variantExamples, ReportFixtures.variants) {
      let second = ReportFixtures.example(options)
      #expect(first.report.html() == second.report.html())
      #expect(first.report.text() == second.report.text())
    }
  }

  @Test("names from files stay text, wherever they stand")
  func escapesNames() throws {
    let attacks = [
      "<script>alert(1)</script>", "\"><img src=x onerror=alert(1)>", "'; alert(1) //",
      "</title></style><script>", "]]><!--", "&lt;b&gt;", "a\u{0}b\u{8}\u{FFFF}", "\u{202E}gpj",
      String(repeating: "x", count: 5000),
    ]
    for attack in attacks {
      let document = ReportFixtures.hostile(attack).html()
      let page = try ReportXML.parse(document)
      #expect(page.elements("script").isEmpty && page.elements("img").isEmpty)
      #expect(page.elements("style").count == 1)
      // The names come back as they were, with invisible characters spelled out.
      let visible = SafeText.visible(attack)
      #expect(page.elements("h1").first?.text == visible)
      let names = page.elements("th").map(\.text)
      #expect(names.contains { $0.hasPrefix("model.layers.0.\(visible)") })
      #expect(names.contains { $0.hasPrefix(visible) })
      for picture in ReportXML.pictures(in: document) { _ = try ReportXML.parse(picture) }
    }
  }

  @Test("every operator has its row with its formats and sizes", arguments: 0..<6)
  func everyOperator(_ variant: Int) throws {
    let example = ReportFixtures.variantExamples[variant]
    let page = try ReportXML.parse(example.report.html())
    let table = try #require(page.all.first { $0.attributes["aria-label"] == "All operators" })
    let rows = try #require(table.elements("tbody").first).children
    #expect(rows.count == example.plan.operators.count)
    for (row, assignment) in zip(rows, example.plan.operators) {
      let cells = row.children
      #expect(cells[0].text == "\(assignment.name)\(assignment.shape)")
      let formats = cells[1].elements("span").compactMap { $0.text.split(separator: " ").first }
      #expect(formats.map(String.init) == assignment.segments.map(\.format.identifier))
      #expect(cells[3].text == ReportNumber.bytes(assignment.storedBytes))
    }
  }

  @Test("the numbers of the table are the plan's")
  func numbers() throws {
    let example = ReportFixtures.example()
    let (predicted, measured) = (example.plan.predicted, try #require(example.plan.measured))
    let page = try ReportXML.parse(example.report.html())
    let table = try #require(
      page.all.first { $0.attributes["aria-label"] == "Costs, predicted and measured" })
    let rows = try #require(table.elements("tbody").first).children.map { row in
      row.children.map(\.text)
    }
    func milliseconds(_ seconds: Double?) -> String {
      ReportNumber.significant((seconds ?? .nan) * 1e3, 3)
    }
    #expect(rows[0][1].hasPrefix(String(format: "%.3f", predicted.bitsPerWeight)))
    #expect(rows[0][1].hasSuffix("budget 4.200"))
    #expect(rows[0][2] == String(format: "%.3f", measured.bitsPerWeight))
    #expect(rows[2][0] == "stored bytesB")
    #expect(rows[2][1].replacing(",", with: "") == "\(predicted.storedBytes)")
    #expect(rows[2][2].replacing(",", with: "") == "\(measured.storedBytes)")
    #expect(rows[2][3] == "equal")
    #expect(rows[3][1].hasPrefix(milliseconds(predicted.decodeSecondsPerToken)))
    #expect(rows[3][2] == milliseconds(measured.decodeSecondsPerToken))
    #expect(rows[3][3] == "+4.3 %")
    #expect(rows[4][1] == milliseconds(predicted.prefillSeconds))
    let loss = ReportNumber.valueAndError(
      predicted.klDivergenceNatsPerToken, predicted.klDivergenceStandardError, digits: 4)
    #expect(rows[5][0] == "KL divergencenats/token")
    #expect(rows[5][1] == "\(loss.value)± \(loss.error)")
    #expect(rows[6][2] == "11.42float model 11.30")
    #expect(rows[6][3] == "–+1.1 %")
  }

  @Test("what is not given is left out, and the page still stands")
  func missingInputs() throws {
    var plan = ReportTextTests.smallPlan()
    plan.measured = nil
    plan.predicted.klDivergenceNatsPerToken = nil
    plan.predicted.klDivergenceStandardError = nil
    plan.operators = []
    plan.predicted.storedBytes = 0
    let page = try ReportXML.parse(PlanReport(plan: plan).html())
    let headings = page.elements("h2").map(\.text)
    #expect(!headings.contains("Where it goes"))
    #expect(!headings.contains("Against one format everywhere"))
    #expect(page.elements("p").map(\.text).contains("The plan has no operators."))
    #expect(
      page.elements("p").map(\.text).contains("No loss is known, so there is nothing to draw."))
    #expect(page.text.contains("This plan has not been executed yet"))
  }

  @Test("hashes and commands are there in full")
  func provenance() throws {
    let example = ReportFixtures.example()
    let page = try ReportXML.parse(example.report.html())
    let codes = page.elements("code").map(\.text)
    for hash in [
      example.plan.model.sha256, example.plan.device?.profileSHA256 ?? "",
      example.plan.sensitivity.sha256, example.sensitivity.calibration.sha256,
    ] {
      #expect(codes.contains(hash))
    }
    let commands = try #require(page.elements("pre").first).text.split(separator: "\n")
    #expect(commands.count == 5)
    #expect(commands[2].contains("--budget 4.2bits --budget 0.8ms/token"))
    #expect(commands.allSatisfy { $0.hasPrefix("plan ") })
  }
}
