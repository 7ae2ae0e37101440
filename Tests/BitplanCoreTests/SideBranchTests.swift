import BitplanCore
import Foundation
import Testing

struct SideBranchTests {
  @Test("identifiers are read back; what is no branch is refused")
  func identifiers() throws {
    for (text, branch) in [
      ("rank1", SideBranch.lowRank(1)), ("rank1024", .lowRank(1024)),
      ("outliers0.01%", .outliers(basisPoints: 1)), ("outliers0.5%", .outliers(basisPoints: 50)),
      ("outliers0.25%", .outliers(basisPoints: 25)), ("outliers2%", .outliers(basisPoints: 200)),
      ("outliers10%", .outliers(basisPoints: 1000)),
    ] {
      #expect(SideBranch(identifier: text) == branch)
      #expect(branch.identifier == text)
      #expect(
        try JSONDecoder().decode([SideBranch].self, from: JSONEncoder().encode([branch]))
          == [branch])
    }
    #expect(SideBranch(identifier: "outliers0.5") == .outliers(basisPoints: 50))
    for text in [
      "", "rank", "rank0", "rank1025", "rank-1", "rank1.5", "outliers", "outliers0%", "outliers11%",
      "outliers0.001%", "outliers.5%", "outliers1.%", "outliers1.2.3", "rank٣", "rank99999999999",
    ] {
      #expect(SideBranch(identifier: text) == nil, "\(text)")
      #expect(throws: DecodingError.self) {
        try JSONDecoder().decode([SideBranch].self, from: JSONEncoder().encode([text]))
      }
    }
  }

  @Test("stored sizes are those of the parts, by hand")
  func storedBytes() {
    let shape = MatrixShape(outputFeatures: 100, inputFeatures: 300)
    // A: 16 rows of three groups of 128 bytes and three scales; B: seven tiles of 16 columns.
    #expect(SideBranch.lowRank(8).storedBytes(shape) == 16 * 384 + 128 + 7 * 16 * 8 * 2)
    let outliers = SideBranch.outliers(basisPoints: 100)
    #expect(outliers.outlierCount(shape) == 300)
    // 101 row starts, 300 columns and 300 values of 2 bytes, each padded to 64.
    #expect(outliers.storedBytes(shape) == 448 + 640 + 640)
    let wide = MatrixShape(outputFeatures: 1, inputFeatures: 70_000)
    #expect(outliers.storedBytes(wide) == 64 + 2816 + 1408)
    let assignment = Plan.Assignment(
      name: "a", shape: shape,
      segments: [.init(format: SampleArtifacts.int4, rows: [0..<100])], branch: outliers)
    #expect(
      assignment.storedBytes
        == SampleArtifacts.int4.storedBytes(shape) + outliers.storedBytes(shape))
  }

  @Test("a branch must be smaller than its operator")
  func fits() {
    let shape = MatrixShape(outputFeatures: 16, inputFeatures: 64)
    #expect(SideBranch.lowRank(15).fits(shape) && !SideBranch.lowRank(16).fits(shape))
    #expect(SideBranch.outliers(basisPoints: 10).fits(shape))
    #expect(!SideBranch.outliers(basisPoints: 4).fits(shape))
  }

  @Test("artifacts with a branch that does not fit, or that was not asked for, are refused")
  func validation() throws {
    var plan = SampleArtifacts.plan
    plan.operators[1].branch = .lowRank(160)
    #expect(throws: ArtifactError.self) { try plan.validate() }
    var table = SampleArtifacts.sensitivity
    try table.validate()
    let row = table.rows[0]
    func replaced(_ branches: [SensitivityTable.Branched], bands: Bool = true) -> SensitivityTable {
      table.rows[0] = SensitivityTable.Row(
        operatorDescription: row.operatorDescription, entries: row.entries,
        bands: bands ? row.bands : nil, branches: branches)
      return table
    }
    let losses = try #require(row.branches).first?.losses ?? []
    for branches in [
      [.init(branch: .lowRank(8), losses: losses)],
      [.init(branch: .lowRank(16), losses: [losses[0]])],
      [.init(branch: .lowRank(16), losses: [losses[0], losses[1].map { _ in -1 }])],
      [.init(branch: .lowRank(16), losses: losses), .init(branch: .lowRank(16), losses: losses)],
    ] as [[SensitivityTable.Branched]] {
      #expect(throws: ArtifactError.self) { try replaced(branches).validate() }
    }
    #expect(throws: ArtifactError.self) {
      try replaced([.init(branch: .lowRank(16), losses: losses)], bands: false).validate()
    }
    var profile = SampleArtifacts.profile
    profile.branches? += SampleArtifacts.profile.branches?.prefix(1) ?? []
    #expect(throws: ArtifactError.self) { try profile.validate() }
  }
}
