import BitplanCore
import BitplanPipeline
import Testing

struct SettledPlansTests {
  typealias Made = PlanSearchTests

  /// The made-up table with the losses of one operator times a factor.
  static func rows(_ factor: Double, operatorIndex: Int) -> [SensitivityTable.Row] {
    Made.table().rows.enumerated().map { index, row in
      SensitivityTable.Row(
        operatorDescription: row.operatorDescription,
        entries: row.entries.map {
          .init(
            format: $0.format, value: ($0.value ?? 0) * (index == operatorIndex ? factor : 1),
            standardError: $0.standardError, relativeOutputError: $0.relativeOutputError)
        })
    }
  }

  @Test("the first look settles nothing; the same losses again do")
  func sameAgain() throws {
    let settled = SettledPlans(Made.table())
    #expect(try !settled.isSettled(Self.rows(1, operatorIndex: 0)))
    #expect(try settled.isSettled(Self.rows(1, operatorIndex: 0)))
    #expect(try settled.isSettled(Self.rows(1.0001, operatorIndex: 0)))
  }

  @Test("losses that move, or that make another plan the better one, need more passes")
  func moving() throws {
    let settled = SettledPlans(Made.table())
    _ = try settled.isSettled(Self.rows(1, operatorIndex: 0))
    #expect(try !settled.isSettled(Self.rows(8, operatorIndex: 0)))
    #expect(try settled.isSettled(Self.rows(8, operatorIndex: 0)))
  }

  @Test("a width that was not measured gets the root of its neighbour's factor")
  func unmeasuredWidths() {
    let factors = LossFactors([4: 0.25, 6: 2])
    #expect(factors.factor(bitWidth: 4) == 0.25 && factors.factor(bitWidth: 6) == 2)
    #expect(factors.factor(bitWidth: 3) == 0.5)
    // Of two neighbours the narrower one.
    #expect(factors.factor(bitWidth: 5) == 0.5)
    #expect(factors.factor(bitWidth: 8) == 2.0.squareRoot())
    #expect(LossFactors([:]).factor(bitWidth: 4) == 1)
  }
}
