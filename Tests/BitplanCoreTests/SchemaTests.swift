import BitplanCore
import BitplanDevices
import BitplanTestSupport
import Foundation
import Testing

/// The published schemas say exactly what the types write and accept.
struct SchemaTests {
  static func schema(_ name: String) throws -> JSONValue {
    let url = Fixtures.folder.deletingLastPathComponent().deletingLastPathComponent()
      .appending(path: "Documentation/Schemas/\(name).schema.json")
    return try JSONValue(parsing: String(decoding: Data(contentsOf: url), as: UTF8.self))
  }

  static func sample(_ name: String) throws -> JSONValue {
    switch name {
    case "plan": try SampleArtifacts.json(SampleArtifacts.plan)
    case "device-profile": try SampleArtifacts.json(SampleArtifacts.profile)
    case "front": try SampleArtifacts.json(SampleArtifacts.front)
    case "simulated-device": try SampleArtifacts.json(simulatedDevice())
    default: try SampleArtifacts.json(SampleArtifacts.sensitivity)
    }
  }

  static func decodes(_ name: String, _ value: JSONValue) -> Bool {
    guard let data = try? JSONEncoder().encode(value) else { return false }
    let decoder = JSONDecoder()
    return switch name {
    case "plan": (try? decoder.decode(Plan.self, from: data)) != nil
    case "front": (try? decoder.decode(Front.self, from: data)) != nil
    case "device-profile": (try? decoder.decode(DeviceProfile.self, from: data)) != nil
    case "simulated-device": (try? decoder.decode(SimulatedDevice.self, from: data)) != nil
    default: (try? decoder.decode(SensitivityTable.self, from: data)) != nil
    }
  }

  static let names = ["plan", "device-profile", "sensitivity", "front", "simulated-device"]

  /// Both kinds of hardware at once, which only the schema may see: it asks for every property.
  static func simulatedDevice() throws -> SimulatedDevice {
    var device = try #require(DeviceCatalog.device("mixpe"))
    device.cpu = try #require(DeviceCatalog.device("raspberry-pi-5")?.cpu)
    device.cpu?.activeWatts = 8
    return device
  }

  @Test("what is written is what the schema describes", arguments: names)
  func samplesConform(_ name: String) throws {
    let schema = try Self.schema(name)
    #expect(MiniValidator(schema).errors(try Self.sample(name)) == [])
  }

  @Test(
    "the full sample has every property of the schema, so that none is left over", arguments: names)
  func schemaHasNoExtraProperties(_ name: String) throws {
    let schema = try Self.schema(name)
    // A plan predicts no perplexity and no slowdown; its measured costs have all. A front has predictions
    // alone.
    let measuredOnly = [
      "plan": ["decodeSlowdown", "perplexity", "prefillSlowdown", "referencePerplexity"].map {
        "$.predicted.\($0)"
      },
      "front": ["points", "references"].flatMap {
        ["$.\($0)[].predicted.perplexity", "$.\($0)[].predicted.referencePerplexity"]
      },
    ]
    #expect(
      MiniValidator(schema).unusedProperties(try Self.sample(name))
        == measuredOnly[name, default: []])
  }

  @Test("the schema requires a key exactly where decoding does", arguments: names)
  func requiredKeysAgree(_ name: String) throws {
    let validator = MiniValidator(try Self.schema(name))
    let sample = try Self.sample(name)
    for path in Self.keyPaths(sample) {
      let without = try #require(sample.replacing(path[...], with: nil))
      // Decoding decides about keys; the schema also about lengths of lists, which this leaves alone.
      let missing = validator.errors(without).contains { $0.contains("lacks") }
      #expect(missing != Self.decodes(name, without), "\(path.joined(separator: "."))")
    }
  }

  @Test("a key that the schema does not know is an error to the schema", arguments: names)
  func unknownKeysAreErrors(_ name: String) throws {
    let validator = MiniValidator(try Self.schema(name))
    let extra = try #require(
      Self.sample(name).replacing(["unknown"], with: .number(1)))
    #expect(validator.errors(extra).contains { $0.contains("unknown") })
  }

  @Test("wrong types, unknown words and numbers out of range are errors to the schema")
  func rejectsDamage() throws {
    let damages: [(name: String, path: [String], value: JSONValue)] = [
      ("plan", ["schemaVersion"], .number(2)),
      ("plan", ["model", "sha256"], .string("x")),
      ("plan", ["certificate", "status"], .string("best")),
      ("plan", ["operators", "0", "outputFeatures"], .number(0)),
      ("plan", ["operators", "0", "outputFeatures"], .number(1.5)),
      ("plan", ["operators", "0", "segments", "0", "format"], .string("int7_g64")),
      ("plan", ["operators", "0", "segments", "0", "rows", "0"], .array([.number(1)])),
      ("plan", ["budgets", "0", "limit"], .number(0)),
      ("plan", ["operators"], .array([])),
      ("device-profile", ["simulated"], .number(1)),
      ("device-profile", ["measurements", "0", "seconds"], .string("1")),
      ("device-profile", ["measurements", "0", "shape", "inputFeatures"], .number(-1)),
      ("sensitivity", ["rows", "0", "entries", "0", "value"], .number(-1)),
      ("sensitivity", ["metric"], .string("perplexity")),
      ("simulated-device", ["name"], .string("../x")),
      ("simulated-device", ["systolicArray", "rows"], .number(0)),
      ("simulated-device", ["systolicArray", "dataflow"], .string("rowStationary")),
      ("simulated-device", ["cpu", "work", "decodeCyclesPerVector"], .array([.number(1)])),
      ("sensitivity", ["rows", "0", "operatorDescription", "role"], .string("")),
    ]
    for damage in damages {
      let damaged = try #require(
        Self.sample(damage.name).replacing(damage.path[...], with: damage.value))
      #expect(MiniValidator(try Self.schema(damage.name)).errors(damaged).count == 1)
    }
  }

  @Test("every property is described, and every format is listed", arguments: names)
  func everythingIsDescribed(_ name: String) throws {
    let schema = try Self.schema(name)
    #expect(schema["$schema"] == .string("https://json-schema.org/draft/2020-12/schema"))
    for property in MiniValidator(schema).undescribed() {
      Issue.record("\(property) has no description")
    }
    guard name != "simulated-device" else { return }
    #expect(
      schema["$defs"]?["format"]?["enum"]
        == .array(WeightFormat.all.map { .string($0.identifier) }))
  }

  /// Paths to every key of every object.
  static func keyPaths(_ value: JSONValue) -> [[String]] {
    switch value {
    case .object(let members):
      members.keys.sorted().flatMap { key in
        [[key]] + keyPaths(members[key]!).map { [key] + $0 }
      }
    case .array(let items):
      items.enumerated().flatMap { index, item in keyPaths(item).map { ["\(index)"] + $0 } }
    default: []
    }
  }
}
