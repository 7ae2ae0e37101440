import BitplanCore
import Foundation
import Testing

/// Transforms and integer KV caches as a user asks for them.
@Suite(.serialized)
struct TransformVerbTests {
  static func plan(_ folder: URL, _ name: String = "model.plan.json") throws -> Plan {
    try JSONDecoder().decode(Plan.self, from: Data(contentsOf: folder.appending(path: name)))
  }

  /// The loss that validating prints.
  static func loss(_ folder: URL, _ more: [String]) throws -> Double {
    let result = try PlanProcess.run(
      [
        "validate", "model", "--plan", "model.plan.json", "--windows", "2", "--time-tolerance",
        "1000", "--loss-tolerance", "1000", "--no-uniform", "--json",
      ] + more, in: folder)
    #expect(result.exitCode == 0, "\(result.errors)")
    let object = try JSONSerialization.jsonObject(with: Data(result.output.utf8)) as? [String: Any]
    let measured = try #require(object?["measured"] as? [String: Any])
    return try #require(measured["klDivergenceNatsPerToken"] as? Double)
  }

  @Test("a plan's transforms are made again by pack and validate, to the same weights")
  func roundTrip() throws {
    let folder = try VerbTests.workspace()
    defer { try? FileManager.default.removeItem(at: folder) }
    let list = "scale,rotate,rotate-values,rotate-online,smooth-keys"
    let made = try VerbTests.search(folder, ["--budget", "5.5bits", "--transforms", list])
    #expect(made.exitCode == 0, "\(made.errors)")
    let transforms = try #require(try Self.plan(folder).transforms)
    #expect(transforms.contains(.rotation(.residual, layer: nil, seed: 1)))
    #expect(transforms.filter { $0.slot == .downInput }.count == TinyModel.layers)
    #expect(transforms.filter { $0.slot == .queryKey }.count == TinyModel.layers)

    let packed = try PlanProcess.run(["pack", "model", "--plan", "model.plan.json"], in: folder)
    #expect(packed.exitCode == 0, "\(packed.errors)")
    let inMemory = try Self.loss(folder, [])
    let fromFile = try Self.loss(folder, ["--packed", "packed.safetensors"])
    #expect(inMemory == fromFile)
    // Forgetting the transforms must not go unnoticed: the codes belong to other norms.
    let four = try Self.loss(folder, ["--packed", "packed.safetensors", "--kv-cache", "int4"])
    #expect(four != fromFile)

    let ran = try PlanProcess.run(
      [
        "run", "packed.safetensors", "--prompt", "The file", "--tokens", "3", "--kv-cache", "int8",
        "--quiet",
      ], in: folder)
    #expect(ran.exitCode == 0 && ran.output.hasPrefix("The file"), "\(ran.errors)")
  }

  @Test("a packed file keeps what kronecker-online found, and says so in its plan")
  func kronecker() throws {
    let folder = try VerbTests.workspace()
    defer { try? FileManager.default.removeItem(at: folder) }
    let made = try VerbTests.search(
      folder, ["--budget", "5.5bits", "--transforms", "kronecker-online,scale"])
    #expect(made.exitCode == 0, "\(made.errors)")
    let transforms = try #require(try Self.plan(folder).transforms)
    #expect(transforms.filter { $0.kind == .kronecker }.count == TinyModel.layers)
    #expect(!transforms.contains { $0.slot == .up })
    let packed = try PlanProcess.run(["pack", "model", "--plan", "model.plan.json"], in: folder)
    #expect(packed.exitCode == 0, "\(packed.errors)")
    #expect(
      try Self.loss(folder, []) == Self.loss(folder, ["--packed", "packed.safetensors"]))
    let compared = try PlanProcess.run(
      ["compare", "model", "packed.safetensors", "--windows", "1"], in: folder)
    #expect(compared.exitCode == 0, "\(compared.errors)")
  }

  @Test("a sensitivity with other transforms is stale, one with the same is reused")
  func staleness() throws {
    let folder = try VerbTests.workspace()
    defer { try? FileManager.default.removeItem(at: folder) }
    let first = try VerbTests.search(folder, ["--budget", "6bits", "--transforms", "auto"])
    #expect(first.exitCode == 0, "\(first.errors)")
    let again = try VerbTests.search(
      folder, ["--budget", "6bits", "--transforms", "auto", "--out", "again.json"])
    #expect(again.exitCode == 0 && again.errors.contains("reusing"))
    #expect(
      try Data(contentsOf: folder.appending(path: "again.json"))
        == Data(contentsOf: folder.appending(path: "model.plan.json")))
    let other = try VerbTests.search(folder, ["--budget", "6bits", "--transforms", "scale"])
    #expect(other.exitCode == 3 && other.errors.contains("--remeasure"))
  }

  @Test("transforms that the model has no place for are refused")
  func refusesForeignTransforms() throws {
    let folder = try VerbTests.workspace()
    defer { try? FileManager.default.removeItem(at: folder) }
    #expect(try VerbTests.search(folder, ["--budget", "6bits"]).exitCode == 0)
    let file = folder.appending(path: "model.plan.json")
    for (transform, message) in [
      (EquivalenceTransform.scaling(.up, layer: 99, .smoothing), "layer 99"),
      (.rotation(.value, layer: 99, seed: 1), "layer 99"),
      (.scaling(.up, layer: 0, ScalingRule(.mean, inputExponent: 7)), "must lie in 0…1"),
    ] {
      var plan = try Self.plan(folder)
      plan.transforms = [transform]
      try JSONEncoder().encode(plan).write(to: file)
      let packed = try PlanProcess.run(["pack", "model", "--plan", "model.plan.json"], in: folder)
      #expect(packed.exitCode == 65 && packed.errors.contains(message), "\(packed.errors)")
    }
  }

  @Test("words that are no transform and no cache are wrong usage")
  func usage() throws {
    let folder = try PlanProcess.temporaryFolder()
    defer { try? FileManager.default.removeItem(at: folder) }
    for arguments in [
      ["search", "model", "--budget", "4bits", "--transforms", "magic"],
      ["search", "model", "--budget", "4bits", "--transforms", "scale,"],
      ["measure", "model", "--transforms", ""],
      ["measure", "model", "--transforms", "rotate-online,kronecker-online"],
      ["run", "model", "--prompt", "x", "--kv-cache", "int2"],
      ["validate", "model", "--plan", "x", "--kv-cache", ""],
    ] {
      #expect(try PlanProcess.run(arguments, in: folder).exitCode == 64, "\(arguments)")
    }
  }
}

extension ScalingRule {
  fileprivate static let smoothing = ScalingRule(
    .maximum, inputExponent: 0.5, weightExponent: 0.5)
}
