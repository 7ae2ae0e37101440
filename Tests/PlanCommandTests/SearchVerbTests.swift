import BitplanCore
import BitplanTestSupport
import Foundation
import Testing

/// The search's options and the verbs about plans, as a user runs them, on a tiny model.
@Suite(.serialized)
struct SearchVerbTests {
  static func plan(_ folder: URL, _ name: String = "model.plan.json") throws -> Plan {
    try JSONDecoder().decode(Plan.self, from: Data(contentsOf: folder.appending(path: name)))
  }

  @Test("a plan is executed on other windows, the same at any thread count, and reported")
  func check() throws {
    let folder = try VerbTests.workspace()
    defer { try? FileManager.default.removeItem(at: folder) }
    #expect(try VerbTests.search(folder, ["--budget", "5bits", "--out", "a.json"]).exitCode == 0)
    let plan = try Self.plan(folder, "a.json")
    let check = try #require(plan.check)
    let table = try JSONDecoder().decode(
      SensitivityTable.self,
      from: Data(contentsOf: folder.appending(path: "model.sensitivity.json")))
    #expect(check.text.sha256 != table.calibration.sha256 && check.text.name == "calibration.txt")
    let uniform = try #require(check.uniform)
    #expect(try #require(check.keptLoss) <= uniform.measuredLoss)
    #expect(plan.stability?.resampleCount == 16)

    // Same artifacts, one thread: the profile is named, because its key holds the thread count.
    let profiles = folder.appending(path: "home/Profiles")
    let name = try #require(
      try FileManager.default.contentsOfDirectory(atPath: profiles.path).first)
    let arguments = [
      "--budget", "5bits", "--profile", "home/Profiles/\(name)", "--foreign-profile",
    ]
    for (threads, out) in [("1", "b.json"), ("3", "c.json")] {
      let run = try VerbTests.search(folder, arguments + ["--threads", threads, "--out", out])
      #expect(run.exitCode == 0, "\(run.errors)")
      #expect(
        try Data(contentsOf: folder.appending(path: out))
          == Data(contentsOf: folder.appending(path: "a.json")))
    }

    let shown = try PlanProcess.run(["show", "a.json", "--html", "a.html"], in: folder)
    #expect(shown.output.contains("executed on") && shown.output.contains("stability"))
    let html = try String(contentsOf: folder.appending(path: "a.html"), encoding: .utf8)
    #expect(html.contains("Check: ") && html.contains("Stability: "))
    #expect(
      try VerbTests.search(folder, ["--budget", "5bits", "--no-check", "--out", "d.json"]).exitCode
        == 0)
    #expect(try Self.plan(folder, "d.json").check == nil)
  }

  @Test("rules, a quality with a context, and a front, from the command line")
  func options() throws {
    let folder = try VerbTests.workspace()
    defer { try? FileManager.default.removeItem(at: folder) }
    let ruled = try VerbTests.search(
      folder,
      [
        "--budget", "7bits", "--pin", "lm_head=int8_g32", "--exclude", "*.1.mlp.down_proj",
        "--floor", "*.0.*=4", "--fuse", "qkv,gate_up", "--no-check",
      ])
    #expect(ruled.exitCode == 0, "\(ruled.errors)")
    let plan = try Self.plan(folder)
    for assignment in plan.operators {
      let formats = assignment.segments.map(\.format.identifier)
      if assignment.name == "lm_head" { #expect(formats == ["int8_g32"]) }
      if assignment.name.hasSuffix("1.mlp.down_proj") { #expect(formats == ["f16"]) }
      if assignment.name.contains(".0.") {
        #expect(assignment.segments.allSatisfy { $0.format.bitWidth >= 4 })
      }
    }
    for layer in 0..<TinyModel.layers {
      for group in [
        ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"],
        ["mlp.gate_proj", "mlp.up_proj"],
      ] {
        let formats = group.compactMap { name in
          plan.operators.first { $0.name == "model.layers.\(layer).\(name)" }?.segments
            .map(\.format)
        }
        #expect(formats.count == group.count && Set(formats).count == 1 && formats[0].count == 1)
      }
    }
    #expect(plan.rules?.fused == [.queryKeyValue, .gateUp])

    let nothing = try VerbTests.search(folder, ["--budget", "6bits", "--pin", "nothing=int4_g32"])
    #expect(nothing.exitCode == 65 && nothing.errors.contains("--pin 'nothing=int4_g32'"))

    let quality = try VerbTests.search(
      folder, ["--max-kl", "0.02", "--minimize", "bits", "--no-check", "--out", "q.json"])
    #expect(quality.exitCode == 0, "\(quality.errors)")
    let reached = try Self.plan(folder, "q.json")
    #expect(try #require(reached.predicted.klDivergenceNatsPerToken) <= 0.02)
    #expect(reached.goal?.minimized == .bitsPerWeight)
    #expect(abs(reached.certificate.objective - reached.predicted.bitsPerWeight) < 1e-9)

    // 2 layers · 2 heads · 8 values · 4 bytes · keys and values = 256 bytes a token.
    let cached = try VerbTests.search(
      folder, ["--budget", "300KiB", "--context", "256", "--no-check", "--out", "k.json"])
    #expect(cached.exitCode == 0, "\(cached.errors)")
    let context = try Self.plan(folder, "k.json").context
    #expect(context == Plan.Context(tokenCount: 256, keyValueBytes: 65_536))
    let long = try VerbTests.search(folder, ["--budget", "300KiB", "--context", "8k"])
    #expect(long.exitCode == 65 && long.errors.contains("512"))

    let front = try VerbTests.search(folder, ["--pareto", "6", "--json"])
    #expect(front.exitCode == 0, "\(front.errors)")
    let written = try JSONDecoder().decode(
      Front.self, from: Data(contentsOf: folder.appending(path: "model.front.json")))
    try written.validate()
    #expect(front.output.contains("\"references\""))
    let shown = try PlanProcess.run(
      ["show", "model.plan.json", "--html", "report.html"], in: folder)
    #expect(shown.exitCode == 0, "\(shown.errors)")
  }

  @Test("explain lists the choices and what would change; lint finds what is wrong")
  func explainAndLint() throws {
    let folder = try VerbTests.workspace()
    defer { try? FileManager.default.removeItem(at: folder) }
    #expect(try VerbTests.search(folder, ["--budget", "5bits"]).exitCode == 0)
    let name = "model.layers.1.mlp.down_proj"
    let explained = try PlanProcess.run(["explain", "model.plan.json", name, "--json"], in: folder)
    #expect(explained.exitCode == 0, "\(explained.errors)")
    struct Explanation: Decodable {
      struct Choice: Decodable {
        let formats: String
        let loss, pricedObjective: Double
        let storedBytes: Int
        let decodeSecondsPerToken: Double?
        let isChosen: Bool
      }
      let name: String
      let choices: [Choice]
      let widerAtLossFactor: Double?
    }
    let all = try JSONDecoder().decode([Explanation].self, from: Data(explained.output.utf8))
    #expect(all.map(\.name) == [name])
    let choices = try #require(all.first).choices
    #expect(choices.filter(\.isChosen).count == 1 && choices.count >= 3)
    #expect(choices.map(\.pricedObjective) == choices.map(\.pricedObjective).sorted())
    #expect(choices.allSatisfy { $0.decodeSecondsPerToken != nil })
    let plan = try Self.plan(folder)
    let assignment = try #require(plan.operators.first { $0.name == name })
    #expect(choices.first(where: \.isChosen)?.storedBytes == assignment.storedBytes)
    #expect(
      try PlanProcess.run(["explain", "model.plan.json", "nowhere"], in: folder).exitCode == 65)

    func kinds(_ file: String) throws -> Set<String> {
      let result = try PlanProcess.run(["lint", file, "--json"], in: folder)
      #expect(result.exitCode == 0, "\(result.errors)")
      return Set(
        result.output.matches(of: /"kind" : "([a-zA-Z]+)"/).map { String($0.output.1) })
    }
    #expect(try !kinds("model.plan.json").contains("staleInput"))

    // A head pinned to 3 bits loses much that the budget has room for.
    let pinned = try VerbTests.search(
      folder,
      ["--budget", "7bits", "--pin", "lm_head=int3_g32", "--no-check", "--out", "p.json"])
    #expect(pinned.exitCode == 0, "\(pinned.errors)")
    #expect(try kinds("p.json").isSuperset(of: ["notChecked", "costlyRules"]))

    // Nothing was searched for, so nothing is proved.
    let uniform = try VerbTests.search(
      folder, ["--assign", "uniform:int4_g32", "--out", "u.json"])
    #expect(uniform.exitCode == 0, "\(uniform.errors)")
    #expect(try kinds("u.json").contains("looseProof"))

    try FileManager.default.removeItem(at: folder.appending(path: "model.sensitivity.json"))
    #expect(try kinds("model.plan.json").contains("staleInput"))
    #expect(
      try PlanProcess.run(["explain", "model.plan.json", name], in: folder).exitCode == 66)
  }

  @Test("the model calibrates itself, the same every time; methods give whole tables")
  func measure() throws {
    let folder = try VerbTests.workspace()
    defer { try? FileManager.default.removeItem(at: folder) }
    try FileManager.default.removeItem(at: folder.appending(path: "model/calibration.txt"))
    let formats = ["--formats", VerbTests.formats]
    for out in ["a.json", "b.json"] {
      let threads = out == "a.json" ? "1" : "2"
      let run = try PlanProcess.run(
        [
          "measure", "model", "--calibration", "self", "--method", "pd-quant", "--out", out,
          "--threads", threads,
        ] + formats, in: folder)
      #expect(run.exitCode == 0, "\(run.errors)")
    }
    let data = try Data(contentsOf: folder.appending(path: "a.json"))
    #expect(try data == Data(contentsOf: folder.appending(path: "b.json")))
    let table = try JSONDecoder().decode(SensitivityTable.self, from: data)
    try table.validate()
    #expect(table.calibration.name == "self" && table.calibration.windowTokens == 512)
    #expect(table.options.passCount == 3 * table.rows.count)
    let missing = try PlanProcess.run(["measure", "model"] + formats, in: folder)
    #expect(missing.exitCode == 66)
    let unknown = try PlanProcess.run(
      ["measure", "model", "--calibration", "self", "--method", "guess"], in: folder)
    #expect(unknown.exitCode == 65 && unknown.errors.contains("plain-masks"))
    let encoder = try PlanProcess.run(
      [
        "measure", Fixtures.folder.appending(path: "golden/tiny-bert").path, "--calibration",
        "self",
      ], in: folder)
    #expect(encoder.exitCode == 65 && encoder.errors.contains("is an encoder"))
    // A plan from the model's own text is checked on more of its own text.
    let made = try VerbTests.search(folder, ["--budget", "5bits", "--sensitivity", "a.json"])
    #expect(made.exitCode == 0, "\(made.errors)")
    #expect(try Self.plan(folder).check?.text.name == "self")
  }

  @Test(
    "wrong options of the search end with 64",
    arguments: [
      ["--budget", "4bits", "--pin", "lm_head"],
      ["--budget", "4bits", "--pin", "lm_head=int9_g64"],
      ["--budget", "4bits", "--floor", "*=many"],
      ["--budget", "4bits", "--fuse", "qk"],
      ["--budget", "4bits", "--minimize", "bits"],
      ["--budget", "4bits", "--context", "8k"],
      ["--budget", "4MiB", "--context", "0"],
      ["--max-kl", "0"],
      ["--max-kl", "0.1", "--minimize", "joy"],
      ["--pareto", "1"],
      ["--assign", "random:x"],
    ])
  func usage(_ arguments: [String]) throws {
    let folder = try PlanProcess.temporaryFolder()
    defer { try? FileManager.default.removeItem(at: folder) }
    let result = try PlanProcess.run(["search", "model"] + arguments, in: folder)
    #expect(result.exitCode == 64, "\(result.errors)")
  }
}
