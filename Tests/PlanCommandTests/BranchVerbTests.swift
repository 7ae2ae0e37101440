import BitplanCore
import Foundation
import Testing

/// Side branches as a user asks for them.
@Suite(.serialized)
struct BranchVerbTests {
  private static let name = "model.layers.0.mlp.down_proj"

  /// Makes the branches of one operator lose nothing, so that a search takes one.
  private static func favourBranches(_ file: URL) throws {
    let table = try JSONDecoder().decode(SensitivityTable.self, from: Data(contentsOf: file))
    #expect(table.options.branches == [.lowRank(2), .outliers(basisPoints: 200)])
    var changed = table
    let index = try #require(
      table.rows.firstIndex { $0.operatorDescription.name == name })
    let row = table.rows[index]
    let branches = try #require(row.branches)
    #expect(branches.map(\.branch) == table.options.branches)
    let without = try #require(row.bands).losses.map { $0.reduce(0, +) }
    for branched in branches {
      // Random weights have no structure: a branch still leaves less of them.
      for (loss, plain) in zip(branched.losses.map({ $0.reduce(0, +) }), without) {
        #expect(loss < 1.1 * plain)
      }
    }
    changed.rows[index] = SensitivityTable.Row(
      operatorDescription: row.operatorDescription, entries: row.entries, bands: row.bands,
      branches: branches.map {
        .init(branch: $0.branch, losses: $0.losses.map { $0.map { _ in 0 } })
      })
    try JSONEncoder().encode(changed).write(to: file)
  }

  @Test("a branch is measured, timed, chosen, packed, executed and reported")
  func roundTrip() throws {
    let folder = try VerbTests.workspace()
    defer { try? FileManager.default.removeItem(at: folder) }
    let list = ["--branches", "outliers2%,rank2", "--no-check", "--budget", "5bits"]
    let first = try VerbTests.search(folder, list)
    #expect(first.exitCode == 0, "\(first.errors)")
    try Self.favourBranches(folder.appending(path: "model.sensitivity.json"))
    let second = try VerbTests.search(
      folder, ["--no-check", "--budget", "5bits", "--sensitivity", "model.sensitivity.json"])
    #expect(second.exitCode == 0, "\(second.errors)")
    let plan = try TransformVerbTests.plan(folder)
    let branch = try #require(plan.operators.first { $0.name == Self.name }?.branch)

    let explained = try PlanProcess.run(
      ["explain", "model.plan.json", Self.name, "--sensitivity", "model.sensitivity.json"],
      in: folder)
    #expect(explained.exitCode == 0 && explained.output.contains(" + \(branch)"))
    let packed = try PlanProcess.run(["pack", "model", "--plan", "model.plan.json"], in: folder)
    #expect(packed.exitCode == 0, "\(packed.errors)")
    let inMemory = try TransformVerbTests.loss(folder, [])
    #expect(try TransformVerbTests.loss(folder, ["--packed", "packed.safetensors"]) == inMemory)
    let ran = try PlanProcess.run(
      ["run", "packed.safetensors", "--prompt", "The file", "--tokens", "3", "--quiet"], in: folder)
    #expect(ran.exitCode == 0 && ran.output.hasPrefix("The file"), "\(ran.errors)")

    // Without branches the same table gives a plan without one.
    let third = try VerbTests.search(
      folder,
      [
        "--no-check", "--budget", "5bits", "--sensitivity", "model.sensitivity.json", "--branches",
        "none", "--out", "none.json",
      ])
    #expect(third.exitCode == 0, "\(third.errors)")
    let plain = try TransformVerbTests.plan(folder, "none.json")
    #expect(plain.operators.allSatisfy { $0.branch == nil })
    let difference = try PlanProcess.run(["diff", "none.json", "model.plan.json"], in: folder)
    #expect(difference.exitCode == 0 && difference.output.contains("+\(branch) ("))
  }

  @Test("branches that do not exist, and methods that cannot judge them, are refused")
  func refusals() throws {
    let folder = try VerbTests.workspace()
    defer { try? FileManager.default.removeItem(at: folder) }
    let unknown = try PlanProcess.run(["measure", "model", "--branches", "rank0"], in: folder)
    #expect(unknown.exitCode == 64)
    let method = try PlanProcess.run(
      ["measure", "model", "--branches", "rank2", "--method", "masks"], in: folder)
    #expect(method.exitCode == 65 && method.errors.contains("--method salience"))
  }
}
