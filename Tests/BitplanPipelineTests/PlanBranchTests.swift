import BitplanCore
import BitplanPipeline
import Foundation
import Testing

/// Side branches in the integer program, on the made-up artifacts of `PlanSearchTests`.
struct PlanBranchTests {
  static let branch = SideBranch.outliers(basisPoints: 100)
  /// What the branch leaves of an operator's loss.
  static let shares = [0.9, 0.3, 0.7, 0.2]

  static func table() -> SensitivityTable {
    var table = PlanSearchTests.table(bands: true)
    let options = table.options
    table.options = SensitivityTable.Options(
      method: options.method, seed: options.seed, passCount: options.passCount,
      formats: options.formats, quantizer: options.quantizer, branches: [branch])
    table.rows = zip(table.rows, shares).map { row, share in
      SensitivityTable.Row(
        operatorDescription: row.operatorDescription, entries: row.entries, bands: row.bands,
        branches: [
          .init(
            branch: branch, losses: (row.bands?.losses ?? []).map { $0.map { $0 * share } })
        ])
    }
    return table
  }

  static func profile() -> ProfileStore.Stored {
    var profile = PlanSearchTests.profile().profile
    profile.branches = [(1, 2e-6), (128, 2e-4)].map { batch, seconds in
      .init(
        branch: branch, shape: PlanSearchTests.shape, batch: batch, seconds: seconds,
        spreadSeconds: 0, repeats: 1)
    }
    return ProfileStore.Stored(
      profile: profile, file: URL(filePath: "made-up.json"), sha256: PlanSearchTests.hash)
  }

  static func search(
    _ budgets: [String], branches: [SideBranch] = [branch],
    profile: ProfileStore.Stored? = profile()
  ) throws -> Plan {
    var inputs = PlanSearch.Inputs(
      sensitivity: table(), sensitivitySHA256: PlanSearchTests.hash, profile: profile,
      architectureSHA256: PlanSearchTests.hash, budgets: try budgets.map(Budget.init(parsing:)))
    inputs.branches = branches
    inputs.granularity = .layer
    inputs.frontPoints = 0
    return try PlanSearch.run(inputs).plan
  }

  /// All 1296 plans of one format an operator, with or without a branch, by enumeration.
  static func best(bytes: Int, seconds: Double) -> Double? {
    let (formats, shape) = (PlanSearchTests.formats, PlanSearchTests.shape)
    var best: Double?
    for code in 0..<1296 {
      let picks = (0..<4).map { code / [1, 6, 36, 216][$0] % 6 }
      var (size, time, loss) = (0, 5e-6, 0.001)
      for (index, pick) in picks.enumerated() {
        let hasBranch = pick >= 3
        size += formats[pick % 3].storedBytes(shape) + (hasBranch ? branch.storedBytes(shape) : 0)
        time += [10e-6, 18e-6, 14e-6][pick % 3] + (hasBranch ? 2e-6 : 0)
        loss += PlanSearchTests.loss(index, pick % 3) * (hasBranch ? shares[index] : 1)
      }
      if size <= bytes, time <= seconds { best = min(best ?? .infinity, loss) }
    }
    return best
  }

  @Test(
    "the plan is the best of all plans with and without branches, by enumeration",
    arguments: [["3.8bits"], ["4.4bits"], ["5.2bits"], ["5.2bits", "0.062ms/token"]])
  func optimal(_ budgets: [String]) throws {
    let plan = try Self.search(budgets)
    let bytes = Int(plan.budgets[0].limit * Double(plan.model.plannedWeightCount) / 8)
    let seconds = plan.budgets.count > 1 ? plan.budgets[1].limit : .infinity
    let best = try #require(Self.best(bytes: bytes, seconds: seconds))
    #expect(abs(plan.certificate.objective - best) <= best * 1e-4 + 1e-12)
    // Where time is short, branches cost too much of it.
    #expect(plan.operators.contains { $0.branch == Self.branch } == (budgets.count == 1))
    #expect(plan.operators.contains { $0.branch == nil })
    // Predicted bytes, time and loss are those of the plan's own operators.
    let size = plan.operators.reduce(0) { $0 + $1.storedBytes }
    #expect(plan.predicted.storedBytes == size && size <= bytes)
    let time = plan.operators.reduce(5e-6) { sum, assignment in
      let position = PlanSearchTests.formats.firstIndex(of: assignment.segments[0].format) ?? 0
      return sum + [10e-6, 18e-6, 14e-6][position] + (assignment.branch == nil ? 0 : 2e-6)
    }
    #expect(abs(try #require(plan.predicted.decodeSecondsPerToken) - time) < 1e-12)
    try plan.validate(against: PlanSearchTests.operators)
    #expect(try JSONDecoder().decode(Plan.self, from: JSONEncoder().encode(plan)) == plan)
  }

  @Test("a branch is a candidate only where it is asked for and its time is known")
  func isAskedFor() throws {
    let without = try Self.search(["4.4bits"], branches: [])
    #expect(without.operators.allSatisfy { $0.branch == nil })
    let error = #expect(throws: PipelineError.self) {
      try Self.search(["4.4bits"], profile: PlanSearchTests.profile())
    }
    #expect(error?.kind == .stale && error?.description.contains("--branches") == true)
  }
}
