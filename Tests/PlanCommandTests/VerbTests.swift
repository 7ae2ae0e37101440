import BitplanCore
import Foundation
import Testing

/// Every verb as a user runs it, on a tiny model.
@Suite(.serialized)
struct VerbTests {
  /// Few formats keep profiling short.
  static let formats = "int3_g32,int4_g32,int8_g32"

  /// A folder with the model in `model/`.
  static func workspace() throws -> URL {
    let folder = try PlanProcess.temporaryFolder()
    try TinyModel.write(to: folder.appending(path: "model"))
    return folder
  }

  static func search(_ folder: URL, _ more: [String]) throws -> PlanProcess.Result {
    try PlanProcess.run(["search", "model", "--formats", formats] + more, in: folder)
  }

  @Test("search, pack, validate, show and run, one after the other")
  func mainJob() throws {
    let folder = try Self.workspace()
    defer { try? FileManager.default.removeItem(at: folder) }
    let made = try Self.search(folder, ["--budget", "5.5bits"])
    #expect(made.exitCode == 0, "\(made.errors)")
    let planFile = folder.appending(path: "model.plan.json")
    let plan = try JSONDecoder().decode(Plan.self, from: Data(contentsOf: planFile))
    #expect(plan.predicted.bitsPerWeight <= 5.5)
    #expect(plan.operators.count == 2 + 7 * TinyModel.layers)

    let packed = try PlanProcess.run(
      ["pack", "model", "--plan", "model.plan.json", "--json"], in: folder)
    #expect(packed.exitCode == 0, "\(packed.errors)")
    #expect(packed.output.contains("\"storedBytes\" : \(plan.predicted.storedBytes)"))

    // A random model's times are too short to hold to a tolerance; its loss is not what is tested.
    let validated = try PlanProcess.run(
      [
        "validate", "model", "--plan", "model.plan.json", "--packed", "packed.safetensors",
        "--windows", "2", "--time-tolerance", "1000", "--loss-tolerance", "1000", "--no-uniform",
        "--record", "--json",
      ], in: folder)
    #expect(validated.exitCode == 0, "\(validated.errors)")
    #expect(validated.output.contains("\"stored bytes\""))
    let recorded = try JSONDecoder().decode(Plan.self, from: Data(contentsOf: planFile))
    #expect(recorded.measured?.storedBytes == plan.predicted.storedBytes)

    let alone = try PlanProcess.run(
      [
        "validate", "packed.safetensors", "--plan", "model.plan.json", "--windows", "1",
        "--evaluation", "model/evaluation.txt", "--time-tolerance", "1000", "--json",
      ], in: folder)
    #expect(alone.exitCode == 0, "\(alone.errors)")
    #expect(alone.output.contains("\"perplexity\""))

    let shown = try PlanProcess.run(
      ["show", "model.plan.json", "--html", "report.html"], in: folder)
    #expect(shown.exitCode == 0, "\(shown.errors)")
    #expect(shown.output.contains("bits per weight"))
    let html = try String(contentsOf: folder.appending(path: "report.html"), encoding: .utf8)
    #expect(html.contains("<svg") && html.contains("model.layers.1.mlp.down_proj"))

    let ran = try PlanProcess.run(
      ["run", "packed.safetensors", "--prompt", "The file", "--tokens", "5", "--quiet"], in: folder)
    #expect(ran.exitCode == 0, "\(ran.errors)")
    #expect(ran.output.hasPrefix("The file") && ran.output.contains("tokens/s"))
  }

  @Test("equal inputs give equal bytes, and artifacts are reused")
  func deterministic() throws {
    let folder = try Self.workspace()
    defer { try? FileManager.default.removeItem(at: folder) }
    #expect(try Self.search(folder, ["--budget", "5.5bits", "--out", "a.json"]).exitCode == 0)
    let again = try Self.search(folder, ["--budget", "5.5bits", "--out", "b.json"])
    #expect(again.exitCode == 0 && again.errors.contains("reusing"))
    let (a, b) = ("a.json", "b.json")
    #expect(
      try Data(contentsOf: folder.appending(path: a)) == Data(contentsOf: folder.appending(path: b))
    )
  }

  @Test("an infeasible budget names the smallest value, and that value works")
  func infeasible() throws {
    let folder = try Self.workspace()
    defer { try? FileManager.default.removeItem(at: folder) }
    let refused = try Self.search(folder, ["--budget", "2bits"])
    #expect(refused.exitCode == 2)
    let advice = try #require(refused.errors.firstMatch(of: /value is ([0-9.]+bits)/)?.1)
    #expect(try Self.search(folder, ["--budget", String(advice)]).exitCode == 0)
    #expect(
      !FileManager.default.fileExists(atPath: folder.appending(path: "packed.safetensors").path))
  }

  @Test("a sensitivity of other weights and a foreign profile are refused")
  func stale() throws {
    let folder = try Self.workspace()
    defer { try? FileManager.default.removeItem(at: folder) }
    #expect(try Self.search(folder, ["--budget", "6bits"]).exitCode == 0)
    try FileManager.default.removeItem(at: folder.appending(path: "model"))
    try TinyModel.write(to: folder.appending(path: "model"), seed: 2)
    let other = try Self.search(folder, ["--budget", "6bits"])
    #expect(other.exitCode == 3 && other.errors.contains("--remeasure"))
    let pack = try PlanProcess.run(["pack", "model", "--plan", "model.plan.json"], in: folder)
    #expect(pack.exitCode == 3)

    let profiles = folder.appending(path: "home/Profiles")
    let name = try #require(
      try FileManager.default.contentsOfDirectory(atPath: profiles.path).first)
    let text = try String(contentsOf: profiles.appending(path: name), encoding: .utf8)
    let foreign = text.replacing(/"cpuModel" : "[^"]*"/, with: "\"cpuModel\" : \"Another CPU\"")
    try Data(foreign.utf8).write(to: folder.appending(path: "foreign.json"))
    let refused = try Self.search(
      folder, ["--budget", "6bits", "--remeasure", "--profile", "foreign.json"])
    #expect(refused.exitCode == 3 && refused.errors.contains("Another CPU"))
    let accepted = try Self.search(
      folder,
      ["--budget", "6bits", "--remeasure", "--profile", "foreign.json", "--foreign-profile"])
    #expect(accepted.exitCode == 0, "\(accepted.errors)")
  }

  @Test("a killed measurement goes on and gives the table of an undisturbed one")
  func resumesAfterKill() throws {
    let folder = try Self.workspace()
    defer { try? FileManager.default.removeItem(at: folder) }
    let arguments = ["measure", "model", "--formats", Self.formats]
    let partial = folder.appending(path: "killed.json.partial")
    let process = try PlanProcess.start(
      arguments + ["--out", "killed.json"], in: folder, errors: Pipe(), output: Pipe())
    let deadline = Date(timeIntervalSinceNow: 60)
    func finishedPasses() -> Int {
      guard let data = FileManager.default.contents(atPath: partial.path) else { return 0 }
      return data.count { $0 == UInt8(ascii: "\n") } - 1
    }
    while finishedPasses() < 5, process.isRunning, Date() < deadline { usleep(2000) }
    kill(process.processIdentifier, SIGKILL)
    process.waitUntilExit()
    #expect(finishedPasses() >= 5)
    #expect(!FileManager.default.fileExists(atPath: folder.appending(path: "killed.json").path))
    let resumed = try PlanProcess.run(arguments + ["--out", "killed.json"], in: folder)
    #expect(resumed.exitCode == 0 && resumed.errors.contains("going on after"), "\(resumed.errors)")
    let whole = try PlanProcess.run(arguments + ["--out", "whole.json"], in: folder)
    #expect(whole.exitCode == 0)
    #expect(
      try Data(contentsOf: folder.appending(path: "killed.json"))
        == Data(contentsOf: folder.appending(path: "whole.json")))
    #expect(!FileManager.default.fileExists(atPath: partial.path))
  }

  @Test("Ctrl-C ends with 130 and leaves no half-written artifact")
  func interrupt() throws {
    let folder = try Self.workspace()
    defer { try? FileManager.default.removeItem(at: folder) }
    let process = try PlanProcess.start(
      ["measure", "model", "--out", "s.json"], in: folder, errors: Pipe(), output: Pipe())
    let partial = folder.appending(path: "s.json.partial").path
    let deadline = Date(timeIntervalSinceNow: 60)
    while !FileManager.default.fileExists(atPath: partial), process.isRunning, Date() < deadline {
      usleep(2000)
    }
    kill(process.processIdentifier, SIGINT)
    process.waitUntilExit()
    #expect(process.terminationStatus == 130)
    let left = try FileManager.default.contentsOfDirectory(atPath: folder.path).sorted()
    #expect(left.filter { $0 != "home" } == ["model", "s.json.partial"])
  }
}
