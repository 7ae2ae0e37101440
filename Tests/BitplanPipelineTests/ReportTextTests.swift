import BitplanCore
import BitplanPipeline
import Testing

struct ReportTextTests {
  /// Two layers, one operator with two formats, everything measured.
  static func smallPlan() -> Plan {
    func assignment(_ name: String, _ rows: Int, _ columns: Int, _ segments: [(String, Int)])
      -> Plan.Assignment
    {
      var start = 0
      return Plan.Assignment(
        name: name, shape: MatrixShape(outputFeatures: rows, inputFeatures: columns),
        segments: segments.map { identifier, count in
          defer { start += count }
          return Plan.Segment(
            format: WeightFormat(identifier: identifier) ?? .f16, rows: [start..<start + count])
        })
    }
    let operators = [
      assignment("model.embed_tokens", 512, 128, [("int3_g64", 512)]),
      assignment("model.layers.0.self_attn.q_proj", 128, 128, [("int4_g64", 128)]),
      assignment("model.layers.0.mlp.down_proj", 128, 256, [("int6_g32", 32), ("int5_g64", 96)]),
      assignment("model.layers.1.self_attn.q_proj", 128, 128, [("int3_g64", 128)]),
      assignment("model.layers.1.mlp.down_proj", 128, 256, [("int4_g64", 128)]),
      assignment("lm_head", 512, 128, [("int8_g128s", 512)]),
    ]
    let weights = operators.reduce(0) { $0 + $1.shape.weightCount }
    let bytes = operators.reduce(0) { $0 + $1.storedBytes }
    var predicted = Plan.Costs(
      bitsPerWeight: BitsPerWeight(storedBytes: bytes, weightCount: weights).value,
      storedBytes: bytes)
    predicted.decodeSecondsPerToken = 0.00061
    predicted.prefillSeconds = 0.021
    predicted.prefillTokens = 128
    predicted.klDivergenceNatsPerToken = 0.01731
    predicted.klDivergenceStandardError = 0.0004
    var plan = Plan(
      model: ModelIdentity(
        name: "tiny", sha256: String(repeating: "a", count: 64), architecture: "llama",
        plannedWeightCount: weights),
      device: Plan.Device(
        name: "xeon-2t", profileSHA256: String(repeating: "b", count: 64), simulated: true),
      sensitivity: Plan.SensitivitySource(
        sha256: String(repeating: "c", count: 64), metric: .klDivergenceNatsPerToken,
        quantizer: "round-to-nearest+clip"),
      budgets: [
        Budget(kind: .bitsPerWeight, limit: 5.5),
        Budget(kind: .decodeSecondsPerToken, limit: 0.00065),
      ],
      certificate: Certificate(
        status: .optimal, objective: 0.01731, bound: 0.01730, solver: "GLPK 5.0", seconds: nil),
      predicted: predicted, operators: operators)
    plan.measured = predicted
    plan.measured?.decodeSecondsPerToken = 0.00067
    plan.measured?.prefillSeconds = 0.0199
    plan.measured?.klDivergenceNatsPerToken = 0.0185
    plan.measured?.klDivergenceStandardError = 0.0007
    plan.measured?.perplexity = 11.4213
    plan.measured?.referencePerplexity = 11.2987
    return plan
  }

  static let comparisons = [
    ("int4_g64", 4.328, 0.0402, 0.0364), ("int5_g128", 5.188, 0.0203, 0.0211),
  ]
  .map { identifier, bits, predicted, measured in
    UniformComparison(
      format: WeightFormat(identifier: identifier) ?? .f16, bitsPerWeight: bits,
      predictedLoss: predicted, measuredLoss: measured)
  }

  @Test("the whole text of a small plan")
  func golden() {
    let report = PlanReport(plan: Self.smallPlan(), comparisons: Self.comparisons)
    #expect(report.text(width: 76) == Self.goldenText)
  }

  static let goldenText = """
    model        tiny (llama, 229,376 weights)
    device       xeon-2t (simulated)
    budgets      5.5 bits per weight, 0.65 ms per decoded token
    minimised    KL divergence, nats/token

                               predicted  measured  difference
    stored size, bits/weight       5.237     5.237       equal
    stored size, KiB               146.6     146.6       equal
    stored bytes, B              150,144   150,144       equal
    decode, ms/token               0.610     0.670      +9.8 %
    prefill, 128 tokens, ms         21.0      19.9      −5.2 %
    KL divergence, nats/token    0.01731   0.01850      +6.9 %
      standard error             0.00040   0.00070
    perplexity                         –     11.42           –
      of the float model                     11.30      +1.1 %

    certificate  optimal, gap 0.058 %: objective 0.01731, bound 0.01730
                 nats/token
    solver       GLPK 5.0

    formats, share of weights
    int8_g128s  28.6 %  65.00 KiB  █████████████████████████▋
    int6_g32     3.6 %  6.688 KiB  ███▎
    int5_g64    10.7 %  16.00 KiB  █████████▋
    int4_g64    21.4 %  25.88 KiB  ███████████████████▎
    int3_g64    35.7 %  33.00 KiB  ████████████████████████████████

    bits by layer (*: several formats, the bits of most weights)
    layer   q  down
        0   4     5*
        1   3     4

    operators outside the layers
    model.embed_tokens  512×128  int3_g64    26.38 KiB  3.297 bits/weight
    lm_head             512×128  int8_g128s  65.00 KiB  8.125 bits/weight

    against one format everywhere: KL divergence, nats/token
               bits/weight  predicted  measured  vs. plan
    int4_g64         4.328    0.04020   0.03640    × 1.97
    int5_g128        5.188    0.02030   0.02110    × 1.14
    this plan        5.237    0.01731   0.01850
    Measured KL divergence is 12.3 % below that of int5_g128 (5.188
    bits/weight), the best uniform format of the same or smaller size.

    warning: Measured decode of 0.670 ms/token is over the budget of 0.650
      ms/token. Search again with a lower budget, or allow more.

    """

  @Test("no line is wider than the terminal", arguments: [64, 72, 80, 100, 160])
  func staysInside(_ width: Int) {
    for example in ReportFixtures.variantExamples {
      for line in example.report.text(width: width).split(separator: "\n") {
        #expect(SafeText.columns(String(line)) <= width, "\(line)")
        #expect(line.last != " ")
      }
    }
  }

  @Test("a silly width counts as the narrowest")
  func narrowest() {
    let report = PlanReport(plan: Self.smallPlan())
    #expect(report.text(width: -5) == report.text(width: PlanReport.minimumTextWidth))
  }

  @Test("colours paint the map and nothing else; without them there is no escape sequence")
  func color() {
    for example in ReportFixtures.variantExamples {
      let report = example.report
      let plain = report.text(width: 90)
      #expect(!plain.unicodeScalars.contains { $0.value < 0x20 && $0 != "\n" })
      let painted = report.text(width: 90, color: true)
      let stripped = painted.replacing(#/\u{1B}\[[0-9;]*m/#, with: "")
      // Painted cells keep the space at a line's end.
      let lines = stripped.split(separator: "\n", omittingEmptySubsequences: false)
        .map { $0.replacing(#/ +$/#, with: "") }
      #expect(lines.joined(separator: "\n") == plain)
      let hasLayers = example.plan.operators.contains { $0.name.contains(".0.") }
      #expect(painted.contains("\u{1B}[48;5;") == hasLayers)
    }
  }

  @Test("every layer has a row, every type a column, and the bits are the plan's")
  func map() throws {
    var options = ReportFixtures.Options()
    options.layerCount = 80
    let example = ReportFixtures.example(options)
    let lines = example.report.text().split(separator: "\n").map(String.init)
    let heading = try #require(lines.firstIndex { $0.hasPrefix("layer") })
    let types = lines[heading].split(separator: " ").dropFirst()
    #expect(types == ["q", "k", "v", "o", "gate", "up", "down"])
    for layer in 0..<80 {
      let cells = lines[heading + 1 + layer].split(separator: " ").map(String.init)
      let expected = example.plan.operators
        .filter { $0.name.hasPrefix("model.layers.\(layer).") }
        .map { "\($0.segments[0].format.bitWidth)" }
      #expect(cells == ["\(layer)"] + expected)
    }
  }

  @Test("the bits of most weights stand for a mixed operator, with a star")
  func mixed() {
    let text = PlanReport(plan: Self.smallPlan()).text()
    #expect(text.contains("\nlayer   q  down\n    0   4     5*\n    1   3     4\n"))
  }

  @Test("what is not known is a dash, and nothing else is missing")
  func missingInputs() {
    var plan = Self.smallPlan()
    plan.measured = nil
    plan.device = nil
    plan.predicted.decodeSecondsPerToken = nil
    plan.predicted.prefillSeconds = nil
    plan.predicted.klDivergenceStandardError = .nan
    plan.predicted.klDivergenceNatsPerToken = .infinity
    plan.budgets = []
    let text = PlanReport(plan: plan).text()
    #expect(!text.lowercased().contains("nan"))
    #expect(!text.lowercased().contains("inf"))
    #expect(text.contains("budgets      none\n"))
    #expect(text.contains("device       none (no budget needs times)\n"))
    for label in ["decode, ms/token", "prefill, 128 tokens, ms", "KL divergence, nats/token"] {
      let line = text.split(separator: "\n").first { $0.hasPrefix(label) }
      #expect(line?.dropFirst(label.count).split(separator: " ") == ["–", "–", "–"], "\(label)")
    }
    #expect(!text.contains("perplexity"))
    #expect(!text.contains("standard error"))
  }

  @Test("prefill times of different prompts are not compared")
  func differentPrompts() {
    var plan = Self.smallPlan()
    plan.measured?.prefillTokens = 64
    let lines = PlanReport(plan: plan).text().split(separator: "\n").filter {
      $0.hasPrefix("prefill")
    }
    #expect(lines.count == 2)
    #expect(lines.allSatisfy { $0.hasSuffix("–") })
  }

  @Test("a time that a slower machine measured is compared at the profile's speed too")
  func slowerMachine() {
    var plan = Self.smallPlan()
    plan.measured?.decodeSlowdown = 1.25
    let lines = PlanReport(plan: plan).text(width: 100).split(separator: "\n")
    let place = lines.firstIndex { $0.hasPrefix("decode, ms/token") }
    let next = place.map { lines[$0 + 1].split(separator: " ").suffix(2) }
    // 0.67 ms ÷ 1.25 beside a predicted 0.61 ms.
    #expect(next.map(Array.init) == ["−12.1", "%"], "\(next ?? [])")
    #expect(lines.count { $0.hasPrefix("  at the profile's speed") } == 1)
  }

  @Test("a plan over its budget is said to be")
  func overBudget() {
    let text = PlanReport(plan: Self.smallPlan()).text(width: 200)
    #expect(
      text.contains(
        "warning: Measured decode of 0.670 ms/token is over the budget of 0.650 ms/token."))
    var plan = Self.smallPlan()
    plan.measured?.decodeSecondsPerToken = 0.00065
    #expect(!PlanReport(plan: plan).text().contains("warning"))
  }

  @Test("the verdict is about uniform formats that are not larger, and can be bad")
  func verdicts() {
    func verdict(_ comparisons: [UniformComparison], _ change: (inout Plan) -> Void = { _ in })
      -> String
    {
      var plan = Self.smallPlan()
      change(&plan)
      let lines = PlanReport(plan: plan, comparisons: comparisons).text(width: 400)
        .split(separator: "\n")
      return lines.first { $0.contains("same or smaller") || $0.contains("as small as") }
        .map(String.init) ?? ""
    }
    func uniform(_ bits: Double, _ predicted: Double?, _ measured: Double?) -> UniformComparison {
      UniformComparison(
        format: .f16, bitsPerWeight: bits, predictedLoss: predicted, measuredLoss: measured)
    }
    // 0.0185 against 0.0211 is 12.3 % lower.
    #expect(
      verdict(Self.comparisons) == "Measured KL divergence is 12.3 % below that of int5_g128 "
        + "(5.188 bits/weight), the best uniform format of the same or smaller size.")
    // A better format that is larger does not count; one that is not larger does.
    #expect(verdict([uniform(3, 1, 0.02), uniform(9, 0, 0.001)]).contains("7.5 % below"))
    #expect(verdict([uniform(3, 1, 0.0185)]).contains("is not lower than that of f16"))
    #expect(verdict([uniform(9, 0, 0.5)]).contains("No uniform format that was measured"))
    // Without measurements the predictions are compared: 0.01731 against 0.025.
    #expect(verdict([uniform(3, 0.025, nil)]).contains("Predicted KL divergence is 30.8 % below"))
    #expect(verdict([uniform(3, 0.02, 0.01)]) { $0.measured = nil }.contains("Predicted"))
    #expect(verdict([uniform(.nan, 0.02, 0.01)]) == "")
    #expect(verdict([uniform(3, nil, .nan)]) == "")
  }

  @Test("names from files cannot drive a terminal")
  func hostileNames() {
    let text = ReportFixtures.hostile("\u{1B}]0;x\u{7}\u{202E}\r\n").text(width: 120)
    #expect(!text.unicodeScalars.contains { $0.value < 0x20 && $0 != "\n" || $0.value == 0x202E })
    #expect(text.contains("\\u{1B}"))
  }

  @Test("a plan whose segments make no sense is shown without their sizes")
  func nonsense() throws {
    for (rows, columns, ranges) in [
      (128, 128, [0..<16]), (128, 128, [0..<256]), (128, 128, [16..<128]),
    ] as [(Int, Int, [Range<Int>])] {
      let list = ranges.map { "[\($0.lowerBound),\($0.upperBound)]" }.joined(separator: ",")
      let assignment = try ReportFixtures.decodedAssignment(
        """
        {"name":"model.layers.0.x","outputFeatures":\(rows),"inputFeatures":\(columns),
         "segments":[{"format":"int4_g64","rows":[\(list)]}]}
        """)
      var plan = Self.smallPlan()
      plan.operators.append(assignment)
      let report = PlanReport(plan: plan)
      #expect(report.text(width: 300).contains("1 of 7 operators have segments"))
      #expect(report.html().contains("1 of 7 operators have segments"))
    }
  }

  @Test("a file whose sizes were edited is noticed")
  func editedSizes() {
    var plan = Self.smallPlan()
    plan.predicted.storedBytes += 1
    #expect(PlanReport(plan: plan).text().contains("The operators add up to"))
  }

  @Test("artifacts of another device or checkpoint are noticed")
  func mismatchedArtifacts() {
    var example = ReportFixtures.example()
    #expect(!example.report.text().contains("warning"))
    example.profile.name = "elsewhere"
    example.sensitivity.model = ModelIdentity(
      name: "other", sha256: "0", architecture: "llama", plannedWeightCount: 1)
    let text = example.report.text(width: 300)
    #expect(text.contains("warning: Operator times are from profile 'elsewhere'"))
    #expect(text.contains("warning: Operator losses are from a table for another checkpoint"))
  }
}
