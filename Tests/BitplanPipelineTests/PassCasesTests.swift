import BitplanCore
import BitplanDevices
import BitplanPipeline
import Testing

/// What a pass adds up from, and what is said of a measured time beside it.
struct PassCasesTests {
  private static let prefillTokens = PassCases.batches[1]
  private static let linear = MatrixShape(outputFeatures: 48, inputFeatures: 64)
  private static let table = MatrixShape(outputFeatures: 100, inputFeatures: 64)

  private func cases() throws -> (PassCases, WeightFormat, WeightFormat) {
    let narrow = try #require(WeightFormat(identifier: "int4_g64"))
    let wide = try #require(WeightFormat(identifier: "int8_g128"))
    let operators = [
      OperatorDescription(name: "embed", shape: Self.table, role: .embedding, layer: nil),
      OperatorDescription(name: "up", shape: Self.linear, role: .linear, layer: nil),
      OperatorDescription(name: "head", shape: Self.table, role: .head, layer: nil),
    ]
    let whole = Plan.Segment(format: wide, rows: [0..<100])
    // A third of the rows, which take one tile of three.
    let mixed = [
      Plan.Segment(format: wide, rows: [3..<19]),
      Plan.Segment(format: narrow, rows: [0..<3, 19..<48]),
    ]
    return (PassCases(operators, [[whole], mixed, [whole]]), narrow, wide)
  }

  @Test("segments count by their tiles, tables not at all, the head as for one token")
  func sums() throws {
    let (cases, narrow, wide) = try cases()
    let sums = cases.sums { item in
      switch (item.shape, item.format, item.batch) {
      case (Self.linear, wide, 1): 3
      case (Self.linear, narrow, 1): 1.5
      case (Self.linear, wide, Self.prefillTokens): 300
      case (Self.linear, narrow, Self.prefillTokens): 150
      case (Self.table, wide, 1): 10
      default: nil
      }
    }
    #expect(abs(try #require(sums[1]) - (1 + 1 + 10)) < 1e-12)
    #expect(abs(try #require(sums[Self.prefillTokens]) - (100 + 100 + 10)) < 1e-12)
    #expect(cases.all.count == 5)
    #expect(cases.new(atBatch: 1).count == 3)
    // The head's was there for one token.
    #expect(cases.new(atBatch: Self.prefillTokens).map(\.shape) == [Self.linear, Self.linear])
  }

  @Test("a sum is not given where a time is missing")
  func missing() throws {
    let (cases, narrow, _) = try cases()
    #expect(cases.sums { $0.format == narrow ? nil : 1 }.isEmpty)
  }

  @Test("measured times are held to the prediction at the profile's speed")
  func validation() throws {
    let result = try checks(slowdown: 2)
    #expect(result.passed)
    #expect(
      result.detail
        == "measured +5.0 % against predicted at the profile's speed; the machine took 2.00 × as long"
    )
    let faster = try checks(slowdown: 0.7)
    #expect(!faster.passed)
    #expect(faster.detail.hasSuffix("; the machine took 0.70 × as long"))
    let unknown = try checks(slowdown: nil)
    #expect(!unknown.passed)
    #expect(unknown.detail == "measured +110.0 % against predicted")
  }

  /// The check of a decode time of 2.1 seconds that was predicted to be 1.
  private func checks(slowdown: Double?) throws -> ValidationCheck {
    var plan = ReportFixtures.example(ReportFixtures.Options()).plan
    plan.predicted.decodeSecondsPerToken = 1
    var measured = plan.predicted
    measured.decodeSecondsPerToken = 2.1
    measured.decodeSlowdown = slowdown
    let checks = ValidationChecks.all(
      plan.predicted, measured, [], plan, ValidateRequest(planFile: "plan.json"))
    return try #require(checks.first { $0.name == "decode time" })
  }
}
