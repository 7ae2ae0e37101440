import BitplanCore
import BitplanEngine
import BitplanKernels
import BitplanSensitivity
import Testing

struct EarlyStopTests {
  private static func estimation(
    _ bench: OneAtATimeEstimationTests.Bench, passes: Int,
    isSettled: (([SensitivityTable.Row]) throws -> Bool)?
  ) throws -> MaskGuidedEstimation {
    let statistics = try bench.meter.prepare { _, _ in }
    return MaskGuidedEstimation(
      model: bench.model, formats: OneAtATimeEstimationTests.formats,
      design: MaskDesign(
        operatorCount: bench.model.operators.count, formats: OneAtATimeEstimationTests.formats,
        seed: 3, maskSize: bench.model.operators.count, partitionCount: 0, denseCount: passes),
      variants: bench.variants, statistics: statistics, gradients: nil, tokenShares: [],
      isSettled: isSettled, loss: bench.meter.loss)
  }

  @Test("passes end at the look that finds plans settled, with the table of so many passes")
  func stops() throws {
    let bench = try OneAtATimeEstimationTests.Bench()
    var looks = 0
    let stopped = try Self.estimation(bench, passes: 20) { _ in
      looks += 1
      return looks == 2
    }.run(tokens: bench.windows[0], journal: nil) { _ in }
    #expect(looks == 2 && stopped.passCount == 12)
    let short = try Self.estimation(bench, passes: 12, isSettled: nil)
      .run(tokens: bench.windows[0], journal: nil) { _ in }
    #expect(stopped.rows == short.rows && short.passCount == 12)
  }

  @Test("without an end all passes are made")
  func goesOn() throws {
    let bench = try OneAtATimeEstimationTests.Bench()
    let all = try Self.estimation(bench, passes: 14) { _ in false }
      .run(tokens: bench.windows[0], journal: nil) { _ in }
    #expect(all.passCount == 14)
  }
}
