import Foundation
import Testing

/// Wrong calls and broken inputs: a documented exit code and a message that says what to do.
struct UsageTests {
  static let usageErrors: [[String]] = [
    ["search", "model"],
    ["search", "model", "--budget", "4.2"],
    ["search", "model", "--budget", "-1bits"],
    ["search", "model", "--budget", "nanbits"],
    ["search", "model", "--budget", "4bits", "--formats", "int9_g64"],
    ["search", "model", "--budget", "4bits", "--threads", "0"],
    ["search", "model", "--budget", "4bits", "--time-limit", "0"],
    ["search", "model", "--budget", "4bits", "--instruction-set", "mmx"],
    ["run", "model"],
    ["run", "model", "--prompt", "x", "--tokens", "0"],
    ["run", "model", "--prompt", "x", "--top-p", "2"],
    ["validate", "model", "--plan", "p.json", "--windows", "0"],
    ["compare", "model"],
    ["compare", "model", "other", "--windows", "0"],
    ["nonsense", "model", "extra"],
    ["profile", "--device", "sim:mixpe", "--list-devices"],
    ["profile", "--import", "table.csv"],
    ["profile", "--calibrate", "p.json", "--name", "x"],
    ["devices", "model", "--budget", "4bits", "--device", "sim:mixpe"],
    ["devices", "model", "--device", "sim:mixpe", "--device", "sim:int8"],
    ["search", "model", "--budget", "30mJ"],
  ]

  @Test("wrong usage ends with 64", arguments: usageErrors)
  func usage(_ arguments: [String]) throws {
    let folder = try PlanProcess.temporaryFolder()
    defer { try? FileManager.default.removeItem(at: folder) }
    let result = try PlanProcess.run(arguments, in: folder)
    #expect(result.exitCode == 64, "\(result.errors)")
    #expect(result.errors.contains("Error:"))
  }

  @Test(
    "missing inputs end with 66",
    arguments: [
      ["search", "nowhere", "--budget", "4bits"],
      ["measure", "nowhere/model.safetensors"],
      ["profile", "--for", "nowhere"],
      ["run", "nowhere.safetensors", "--prompt", "x"],
      ["compare", "nowhere.safetensors", "nowhere"],
      ["show", "nowhere.plan.json"],
      ["diff", "nowhere.plan.json", "nowhere.plan.json"],
      ["explain", "nowhere.plan.json", "lm_head"],
      ["lint", "nowhere.plan.json"],
      ["profile", "--device", "sim:nowhere"],
      ["profile", "--device", "nowhere.json"],
      ["profile", "--import", "nowhere.csv", "--name", "x"],
      ["devices", "nowhere", "--budget", "4bits", "--device", "a", "--device", "b"],
    ])
  func missing(_ arguments: [String]) throws {
    let folder = try PlanProcess.temporaryFolder()
    defer { try? FileManager.default.removeItem(at: folder) }
    let result = try PlanProcess.run(arguments, in: folder)
    #expect(result.exitCode == 66, "\(result.errors)")
    #expect(result.errors.contains("nowhere"))
  }

  @Test(
    "malformed inputs end with 65",
    arguments: [
      ("model.safetensors", "", ["search", "model.safetensors", "--budget", "4bits"]),
      ("model.safetensors", "not a checkpoint at all", ["measure", "model.safetensors"]),
      ("p.plan.json", "{", ["show", "p.plan.json"]),
      ("p.plan.json", "{\"schemaVersion\": 99}", ["show", "p.plan.json"]),
      (
        "p.plan.json", "{\"schemaVersion\": 1, \"operators\": 3}",
        ["diff", "p.plan.json", "p.plan.json"]
      ),
      ("d.json", "{}", ["profile", "--device", "d.json"]),
      ("d.json", "{\"schemaVersion\": 1, \"cpu\": {}}", ["profile", "--device", "d.json"]),
      (
        "d.json",
        "{\"schemaVersion\": 1, \"name\": \"a\", \"summary\": \"b\", \"source\": \"c\"}",
        ["profile", "--device", "d.json"]
      ),
      ("t.csv", "seconds\n1", ["profile", "--import", "t.csv", "--name", "x"]),
    ])
  func malformed(_ name: String, _ text: String, _ arguments: [String]) throws {
    let folder = try PlanProcess.temporaryFolder()
    defer { try? FileManager.default.removeItem(at: folder) }
    try Data(text.utf8).write(to: folder.appending(path: name))
    let result = try PlanProcess.run(arguments, in: folder)
    #expect(result.exitCode == 65, "\(result.errors)")
    #expect(result.errors.hasPrefix("Error: ") && result.errors.count > 30)
  }

  @Test(
    "every verb explains itself",
    arguments: [
      [], ["search"], ["profile"], ["measure"], ["pack"], ["run"], ["validate"], ["compare"],
      ["show"], ["diff"], ["explain"], ["lint"],
    ])
  func help(_ verb: [String]) throws {
    let folder = try PlanProcess.temporaryFolder()
    defer { try? FileManager.default.removeItem(at: folder) }
    let result = try PlanProcess.run(verb + ["--help"], in: folder)
    #expect(result.exitCode == 0)
    #expect(result.output.contains("USAGE: plan") && result.output.contains("OVERVIEW:"))
  }
}
