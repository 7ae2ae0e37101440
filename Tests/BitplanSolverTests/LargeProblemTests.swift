import BitplanCore
import BitplanSearch
import BitplanSolver
import BitplanTestSupport
import Testing

/// Instances of the sizes that real models give. Correctness is asserted; seconds are printed,
/// because they belong to a machine.
@Suite(.serialized) struct LargeProblemTests {
  struct Case: Sendable, CustomTestStringConvertible {
    let name: String
    let layers: Int
    let width: Int
    let formats: Int
    let isFrontier: Bool
    let relativeGap: Double
    var testDescription: String { name }
  }

  static let cases = [
    Case(
      name: "58 operators × 20 formats", layers: 8, width: 512, formats: 20, isFrontier: false,
      relativeGap: 1e-4),
    Case(
      name: "226 operators × 14 formats", layers: 32, width: 4096, formats: 14, isFrontier: false,
      relativeGap: 5e-4),
    Case(
      name: "226 operators × 40 points", layers: 32, width: 4096, formats: 40, isFrontier: true,
      relativeGap: 5e-4),
    Case(
      name: "562 operators × 14 formats", layers: 80, width: 8192, formats: 14, isFrontier: false,
      relativeGap: 5e-4),
    Case(
      name: "562 operators × 40 points", layers: 80, width: 8192, formats: 40, isFrontier: true,
      relativeGap: 5e-4),
    Case(
      name: "5,000 operators × 6 formats", layers: 714, width: 1024, formats: 6, isFrontier: false,
      relativeGap: 5e-4),
  ]

  static let tightnesses: [[Double]] = [[0.3], [0.3, 0.35], [0.3, 0.3, 0.5], [0.15, 0.5, 0.4]]

  @Test("the gap asked for is proved, and the proof holds", arguments: cases, tightnesses)
  func provesTheGap(_ instance: Case, _ tightness: [Double]) throws {
    let shapes = SyntheticProblems.shapes(layers: instance.layers, width: instance.width)
    let problem =
      instance.isFrontier
      ? try SyntheticProblems.frontiers(
        shapes: shapes, pointCount: instance.formats, tightness: tightness, seed: 11)
      : try SyntheticProblems.perFormat(
        shapes: shapes, formats: Array(WeightFormat.evenSteps.prefix(instance.formats)),
        tightness: tightness, seed: 11)
    var options = SearchOptions()
    options.relativeGap = instance.relativeGap
    // Long enough for any machine: only the gap may end the search, so that nothing depends on speed.
    options.timeLimitSeconds = 300

    let result = try Search.solve(problem, solver: GLPKSolver(), options: options)

    try CertificateChecker.check(result, of: problem)
    #expect(result.certificate.status == .optimal)
    #expect(result.certificate.relativeGap <= instance.relativeGap + 1e-9)
    print(
      "\(instance.name), \(tightness.count) limits: \(result.certificate.seconds ?? 0) s, gap",
      result.certificate.relativeGap, "by", result.certificate.solver, "core",
      result.statistics.coreChoiceCount)
  }

  @Test(
    "a shorter time limit gives an answer with a gap, not an error", arguments: [0.0, 0.01, 0.5])
  func honoursTheTimeLimit(_ seconds: Double) throws {
    let problem = try SyntheticProblems.hard(operators: 100, seed: 5)
    var options = SearchOptions()
    options.relativeGap = 0
    options.timeLimitSeconds = seconds

    let result = try Search.solve(problem, solver: GLPKSolver(), options: options)

    try CertificateChecker.check(result, of: problem)
    // Proving the last digit of this problem takes hours, so the limit is what ended it.
    #expect(result.certificate.status == .feasible)
    #expect(result.certificate.relativeGap > 0)
    print(
      "limit \(seconds) s:", result.certificate.seconds!, "s, gap", result.certificate.relativeGap)
    // Twice the limit and a second leave room for a busy machine; a limit that is not honoured
    // takes minutes.
    #expect(try #require(result.certificate.seconds) < 2 * seconds + 1)
  }

  @Test("the time limit holds where the core is large")
  func honoursTheTimeLimitOnLargeCores() throws {
    // Asking for the optimum of thousands of operators leaves a core of thousands of choices.
    let problem = try SyntheticProblems.perFormat(
      shapes: SyntheticProblems.shapes(layers: 714, width: 1024),
      formats: Array(WeightFormat.evenSteps.prefix(6)), tightness: [0.3, 0.3, 0.5], seed: 11)
    var options = SearchOptions()
    options.relativeGap = 0
    options.timeLimitSeconds = 1

    let result = try Search.solve(problem, solver: GLPKSolver(), options: options)

    try CertificateChecker.check(result, of: problem)
    print(
      "5,000 operators to the optimum, limit 1 s:", result.certificate.seconds!, "s, gap",
      result.certificate.relativeGap, "core", result.statistics.coreChoiceCount)
    #expect(result.certificate.seconds! < 3)
    #expect(result.certificate.relativeGap < 1e-4)
  }
}
