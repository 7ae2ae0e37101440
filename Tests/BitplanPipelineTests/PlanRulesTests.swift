import BitplanCore
import BitplanPipeline
import Foundation
import Testing

/// Pins, exclusions, floors, fused operators, contexts and fronts, on made-up artifacts.
struct PlanRulesTests {
  typealias Made = PlanSearchTests

  static func inputs(
    _ rules: Plan.Rules, budget: String = "4.4bits", bands: Bool = false
  ) throws -> PlanSearch.Inputs {
    var inputs = PlanSearch.Inputs(
      sensitivity: Made.table(bands: bands), sensitivitySHA256: Made.hash, profile: nil,
      architectureSHA256: nil, budgets: [try Budget(parsing: budget)])
    inputs.frontPoints = 0
    inputs.resampleCount = 0
    inputs.rules = rules
    return inputs
  }

  static func widths(_ plan: Plan) -> [[Int]] {
    plan.operators.map { $0.segments.map(\.format.bitWidth) }
  }

  /// The least loss of the plans for which `allows` holds, by enumeration.
  static func best(bytes: Int, allows: ([Int]) -> Bool) -> Double {
    var best = Double.infinity
    for code in 0..<81 {
      let picks = (0..<4).map { code / [1, 3, 9, 27][$0] % 3 }
      let size = picks.reduce(0) { $0 + Made.formats[$1].storedBytes(Made.shape) }
      guard size <= bytes, allows(picks) else { continue }
      best = min(
        best, picks.enumerated().reduce(0.001) { $0 + Made.loss($1.offset, $1.element) })
    }
    return best
  }

  static func limit(_ plan: Plan) -> Int {
    Int(plan.budgets[0].limit * Double(plan.model.plannedWeightCount) / 8)
  }

  @Test(
    "a pin holds whatever it costs, and the rest is the best around it", arguments: [false, true])
  func pin(_ bands: Bool) throws {
    let rules = Plan.Rules(pins: [.init(pattern: "*.3.*", format: Made.formats[0])])
    let plan = try PlanSearch.run(Self.inputs(rules, bands: bands)).plan
    try plan.validate(against: Made.operators)
    #expect(Self.widths(plan)[3] == [3])
    #expect(plan.rules == rules)
    let best = Self.best(bytes: Self.limit(plan)) { $0[3] == 0 }
    if bands {
      #expect(plan.certificate.objective < best)
    } else {
      #expect(abs(plan.certificate.objective - best) <= 1e-4 * best)
    }
  }

  @Test("a floor holds for every row", arguments: [false, true])
  func floor(_ bands: Bool) throws {
    let rules = Plan.Rules(floors: [.init(pattern: "model.layers.2.*", bitWidth: 4)])
    let free = try PlanSearch.run(Self.inputs(Plan.Rules(), bands: bands)).plan
    #expect(Self.widths(free)[2].contains(3), "operator 2 matters least, so it is the narrowest")
    let plan = try PlanSearch.run(Self.inputs(rules, bands: bands)).plan
    #expect(Self.widths(plan)[2].allSatisfy { $0 >= 4 })
    if !bands {
      let best = Self.best(bytes: Self.limit(plan)) { $0[2] >= 1 }
      #expect(abs(plan.certificate.objective - best) <= 1e-4 * best)
    }
  }

  @Test("fused operators share one format")
  func fuse() throws {
    var table = Made.table(bands: true)
    let names = ["q_proj", "k_proj", "v_proj"].map { "model.layers.0.self_attn.\($0)" }
    table.rows = table.rows.enumerated().map { index, row in
      guard index < 3 else { return row }
      return SensitivityTable.Row(
        operatorDescription: OperatorDescription(
          name: names[index], shape: Made.shape, role: .linear, layer: 0),
        entries: row.entries, bands: row.bands)
    }
    var inputs = try Self.inputs(Plan.Rules(fused: [.queryKeyValue]))
    inputs.sensitivity = table
    let plan = try PlanSearch.run(inputs).plan
    let formats = plan.operators.prefix(3).map { $0.segments.map(\.format) }
    #expect(Set(formats).count == 1 && formats[0].count == 1)
    // The fourth operator is free to mix, so this is at least as good as whole operators.
    let best = Self.best(bytes: Self.limit(plan)) { $0[0] == $0[1] && $0[1] == $0[2] }
    #expect(plan.certificate.objective <= best * (1 + 1e-4))
  }

  @Test(
    "demands that cannot be met say which and why",
    arguments: [
      (Plan.Rules(pins: [.init(pattern: "nothing.*", format: .f16)]), "--pin 'nothing.*=f16'"),
      (Plan.Rules(excluded: ["lm_head"]), "--exclude 'lm_head'"),
      (Plan.Rules(floors: [.init(pattern: "*.q", bitWidth: 4)]), "--floor '*.q=4'"),
      (Plan.Rules(fused: [.queryKeyValue]), "--fuse qkv"),
      (Plan.Rules(excluded: ["*.0.*"]), "in f16 was not measured"),
      (Plan.Rules(floors: [.init(pattern: "*", bitWidth: 9)]), "no choice left"),
    ])
  func refused(_ rules: Plan.Rules, _ text: String) throws {
    do {
      _ = try PlanSearch.run(Self.inputs(rules))
      Issue.record("\(rules) was accepted")
    } catch let error as PipelineError {
      #expect(error.kind == .invalidInput && error.description.contains(text), "\(error)")
    }
  }

  @Test("two pins on one operator are refused")
  func contradiction() throws {
    let rules = Plan.Rules(pins: [
      .init(pattern: "*", format: Made.formats[0]),
      .init(pattern: "*.1.*", format: Made.formats[1]),
    ])
    do {
      _ = try PlanSearch.run(Self.inputs(rules))
      Issue.record("contradicting pins were accepted")
    } catch let error as PipelineError {
      #expect(error.description.contains("int3_g64 and int4_g64"))
    }
  }

  @Test("the KV cache takes its part of a byte budget, and the advice counts it")
  func context() throws {
    var inputs = try Self.inputs(Plan.Rules(), budget: "20KiB")
    let alone = try PlanSearch.run(inputs).plan
    inputs.context = Plan.Context(tokenCount: 8, keyValueBytes: 3000)
    let plan = try PlanSearch.run(inputs).plan
    try plan.validate(against: Made.operators)
    #expect(plan.predicted.storedBytes + 3000 <= 20 * 1024)
    #expect(plan.predicted.storedBytes < alone.predicted.storedBytes)
    let best = Self.best(bytes: 20 * 1024 - 3000) { _ in true }
    #expect(abs(plan.certificate.objective - best) <= 1e-4 * best)

    inputs.context = Plan.Context(tokenCount: 80, keyValueBytes: 30_000)
    do {
      _ = try PlanSearch.run(inputs)
      Issue.record("a cache larger than the budget was accepted")
    } catch {
      let advice = try #require(error.description.firstMatch(of: /value is ([0-9.]+MiB)/)?.1)
      inputs.budgets = [try Budget(parsing: String(advice))]
      #expect(throws: Never.self) { try PlanSearch.run(inputs) }
    }
  }

  @Test("the front falls, is bounded, and has uniform formats and MixLLM's rule beside it")
  func front() throws {
    var inputs = try Self.inputs(Plan.Rules(), bands: true)
    let front = try PlanSearch.front(inputs, pointCount: 12)
    try front.validate()
    let losses = front.points.compactMap(\.predicted.klDivergenceNatsPerToken)
    #expect(losses.count == front.points.count && losses == losses.sorted(by: >))
    #expect(zip(front.points, losses).allSatisfy { $0.bound <= $1 })
    // No 8-bit format was measured, so the rule cannot be applied.
    #expect(front.references.map(\.name) == Made.formats.map(\.identifier))
    for (format, reference) in zip(Made.formats, front.references) {
      #expect(reference.predicted.storedBytes == 4 * format.storedBytes(Made.shape))
      let better = front.points.last { $0.predicted.storedBytes <= reference.predicted.storedBytes }
      let loss = try #require(reference.predicted.klDivergenceNatsPerToken)
      #expect(try #require(better).bound <= loss)
    }

    // With 4 and 8 bits: 10 % of 256 features are 25, so one band of 16 rows, the one that loses most.
    let names = ["int4_g64", "int8_g128s"]
    let formats = names.compactMap(WeightFormat.init)
    var table = inputs.sensitivity
    table.options = .init(
      method: "salience", seed: 1, passCount: 1, formats: formats, quantizer: "none")
    table.rows = table.rows.enumerated().map { index, row in
      SensitivityTable.Row(
        operatorDescription: row.operatorDescription,
        entries: formats.map {
          .init(format: $0, value: 0.02, standardError: 0, relativeOutputError: 0)
        },
        bands: .init(
          height: 16, rowOrder: Array((0..<64).reversed()),
          losses: formats.map { _ in
            index == 2 ? [0.017, 0.001, 0.001, 0.001] : [0.005, 0.005, 0.005, 0.005]
          }))
    }
    inputs.sensitivity = table
    let mixed = try PlanSearch.front(inputs, pointCount: 4).references.last
    let expected =
      3 * formats[0].storedBytes(Made.shape)
      + Plan.Assignment(
        name: "x", shape: Made.shape,
        segments: [
          .init(format: formats[0], rows: [0..<48]), .init(format: formats[1], rows: [48..<64]),
        ]
      ).storedBytes
    #expect(mixed?.name == Front.mixedRuleName)
    #expect(mixed?.predicted.storedBytes == expected)
    #expect(
      abs((mixed?.predicted.klDivergenceNatsPerToken ?? 0) - (0.001 + 4 * 0.02)) < 1e-12)
  }
}
