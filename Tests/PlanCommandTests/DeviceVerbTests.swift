import BitplanCore
import Foundation
import Testing

/// Devices that are not on the desk, from the command line.
struct DeviceVerbTests {
  private static func workspace() throws -> URL {
    let folder = try PlanProcess.temporaryFolder()
    try TinyModel.write(to: folder.appending(path: "model"))
    return folder
  }

  private static let formats = ["--formats", "int3_g32,int4_g32,int8_g32"]

  private static func plan(_ folder: URL, _ name: String) throws -> Plan {
    try JSONDecoder().decode(
      Plan.self, from: Data(contentsOf: folder.appending(path: name)))
  }

  @Test("a simulated device is planned for, by name, by profile and by table alike")
  func simulated() throws {
    let folder = try Self.workspace()
    defer { try? FileManager.default.removeItem(at: folder) }
    let list = try PlanProcess.run(["profile", "--list-devices"], in: folder)
    #expect(list.exitCode == 0 && list.output.contains("sim:mixpe-w4a8"))

    let made = try PlanProcess.run(
      [
        "profile", "--device", "sim:mixpe", "--for", "model", "--out", "mixpe.json", "--export",
        "mixpe.csv", "--quiet",
      ] + Self.formats, in: folder)
    #expect(made.exitCode == 0, "\(made.errors)")
    let imported = try PlanProcess.run(
      ["profile", "--import", "mixpe.csv", "--name", "board", "--out", "board.json"], in: folder)
    #expect(imported.exitCode == 0, "\(imported.errors)")

    let budgets = ["--budget", "5bits", "--budget", "1J/token"] + Self.formats
    var plans: [Plan] = []
    for (device, extra) in [
      ("sim:mixpe", []), ("mixpe.json", []), ("board.json", ["--foreign-profile"]),
    ] {
      let result = try PlanProcess.run(
        ["search", "model", "--device", device, "--out", "a.plan.json"] + budgets + extra,
        in: folder)
      #expect(result.exitCode == 0, "\(result.errors)")
      plans.append(try Self.plan(folder, "a.plan.json"))
    }
    #expect(plans[0].operators == plans[1].operators && plans[1].operators == plans[2].operators)
    #expect(plans[0].predicted == plans[1].predicted && plans[1].predicted == plans[2].predicted)
    #expect(plans[0].device?.simulated == true && plans[2].device?.simulated == false)
    let joules = try #require(plans[0].predicted.decodeJoulesPerToken)
    #expect(joules > 0 && joules < 1)

    // An imported profile is another machine's unless the user says so.
    let foreign = try PlanProcess.run(
      ["search", "model", "--device", "board.json"] + budgets, in: folder)
    #expect(foreign.exitCode == 3)
    let infeasible = try PlanProcess.run(
      ["search", "model", "--device", "sim:mixpe", "--budget", "0.000001uJ/token"] + Self.formats,
      in: folder)
    #expect(infeasible.exitCode == 2)
    let advice = try #require(infeasible.errors.firstMatch(of: /value is ([0-9.]+mJ\/token)/)?.1)
    let followed = try PlanProcess.run(
      ["search", "model", "--device", "sim:mixpe", "--budget", String(advice)] + Self.formats,
      in: folder)
    #expect(followed.exitCode == 0, "\(followed.errors)")
    let without = try PlanProcess.run(
      ["search", "model", "--device", "sim:raspberry-pi-5", "--budget", "1J/token"] + Self.formats,
      in: folder)
    #expect(without.exitCode == 66 && without.errors.contains("joules"))
  }

  @Test("devices are compared at the same size, and the comparison says why")
  func compared() throws {
    let folder = try Self.workspace()
    defer { try? FileManager.default.removeItem(at: folder) }
    let arguments =
      [
        "devices", "model", "--budget", "5bits", "--device", "sim:mixpe", "--device", "sim:int8",
        "--out", "plans", "--quiet",
      ] + Self.formats
    let text = try PlanProcess.run(arguments, in: folder)
    #expect(text.exitCode == 0, "\(text.errors)")
    #expect(text.output.contains("Why:") && text.output.contains("sim-int8"))
    let json = try PlanProcess.run(arguments + ["--json"], in: folder)
    let root = try #require(
      try JSONSerialization.jsonObject(with: Data(json.output.utf8)) as? [String: Any])
    let devices = try #require(root["devices"] as? [[String: Any]])
    #expect(devices.compactMap { $0["name"] as? String } == ["sim-mixpe-w4a8", "sim-int8"])
    for name in ["sim-mixpe-w4a8", "sim-int8"] {
      let plan = try Self.plan(folder, "plans/\(name).plan.json")
      #expect(plan.predicted.bitsPerWeight <= 5)
      #expect(plan.device?.name == name)
    }
  }
}
