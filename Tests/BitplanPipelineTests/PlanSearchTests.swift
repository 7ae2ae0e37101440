import BitplanCore
import BitplanPipeline
import Foundation
import Testing

/// From artifacts to plans, without any model: every number is made up and checked by hand or by
/// enumeration.
struct PlanSearchTests {
  static let formats = ["int3_g64", "int4_g64", "int6_g64"].compactMap(WeightFormat.init)
  static let shape = MatrixShape(outputFeatures: 64, inputFeatures: 128)
  static let hash = String(repeating: "a", count: 64)

  static let operators = (0..<4).map { (layer: Int) in
    OperatorDescription(
      name: "model.layers.\(layer).mlp.up_proj", shape: shape, role: .linear, layer: layer)
  }

  /// Loss of operator `index` in format `position`.
  static func loss(_ index: Int, _ position: Int) -> Double {
    [0.08, 0.02, 0.001][position] * [1, 3, 0.5, 7][index]
  }

  static func table(bands: Bool = false) -> SensitivityTable {
    let weights = operators.reduce(0) { $0 + $1.shape.weightCount }
    return SensitivityTable(
      model: ModelIdentity(
        name: "made-up", sha256: hash, architecture: "llama", plannedWeightCount: weights),
      metric: .klDivergenceNatsPerToken,
      calibration: .init(name: "c", sha256: hash, windowCount: 1, windowTokens: 8),
      options: .init(method: "masks", seed: 1, passCount: 1, formats: formats, quantizer: "none"),
      activationCost: 0.001,
      rows: operators.enumerated().map { index, description in
        let entries = formats.indices.map {
          SensitivityTable.Entry(
            format: formats[$0], value: loss(index, $0), standardError: loss(index, $0) / 10,
            relativeOutputError: 0.01)
        }
        // Four bands; the first of the order holds nearly all of the loss.
        let made = SensitivityTable.Bands(
          height: 16, rowOrder: Array((0..<64).reversed()),
          losses: formats.indices.map { f in [0.97, 0.01, 0.01, 0.01].map { $0 * loss(index, f) } })
        return SensitivityTable.Row(
          operatorDescription: description, entries: entries, bands: bands ? made : nil)
      })
  }

  /// Times that make the 4-bit format slow, so that a time budget and a size budget pull apart.
  static func profile() -> ProfileStore.Stored {
    let seconds = [1: [10e-6, 18e-6, 14e-6], 128: [1e-3, 1.8e-3, 1.4e-3]]
    let profile = DeviceProfile(
      name: "made-up", simulated: true,
      key: .init(cpuModel: "none", instructionSet: "scalar", threadCount: 1, kernelBuild: "0"),
      peaks: .init(
        readBytesPerSecond: 1e10, readBytesPerSecondOneThread: 1e10,
        int8MultiplyAddsPerSecond: 1e11, float32MultiplyAddsPerSecond: 1e10),
      workingSetBytes: 1,
      measurements: seconds.sorted { $0.key < $1.key }.flatMap { batch, times in
        zip(formats, times).map {
          .init(
            format: $0, shape: shape, batch: batch, seconds: $1, spreadSeconds: 0, repeats: 1)
        }
      },
      corrections: [.init(architectureSHA256: hash, batch: 1, factor: 1, fixedSeconds: 5e-6)])
    return ProfileStore.Stored(profile: profile, file: URL(filePath: "made-up.json"), sha256: hash)
  }

  static func search(
    _ budgets: [String], bands: Bool = false, profile: ProfileStore.Stored? = profile()
  ) throws -> Plan {
    var inputs = PlanSearch.Inputs(
      sensitivity: table(bands: bands), sensitivitySHA256: hash, profile: profile,
      architectureSHA256: hash, budgets: try budgets.map(Budget.init(parsing:)))
    inputs.frontPoints = 0
    return try PlanSearch.run(inputs).plan
  }

  /// All 81 plans by enumeration: the least loss whose bytes and seconds fit.
  static func best(bytes: Int, seconds: Double = .infinity) -> Double? {
    var best: Double?
    for code in 0..<81 {
      let picks = (0..<4).map { code / [1, 3, 9, 27][$0] % 3 }
      let size = picks.reduce(0) { $0 + formats[$1].storedBytes(shape) }
      let time = picks.reduce(5e-6) { $0 + [10e-6, 18e-6, 14e-6][$1] }
      guard size <= bytes, time <= seconds else { continue }
      let loss = picks.enumerated().reduce(0.001) { $0 + Self.loss($1.offset, $1.element) }
      best = min(best ?? .infinity, loss)
    }
    return best
  }

  @Test(
    "the plan is the best of all plans by enumeration",
    arguments: ["3.4bits", "4.4bits", "5bits", "6.4bits"])
  func optimal(_ budget: String) throws {
    let plan = try Self.search([budget])
    let limit = Int(plan.budgets[0].limit * Double(plan.model.plannedWeightCount) / 8)
    let best = try #require(Self.best(bytes: limit))
    // The search proves its plan within a relative gap of 1e-4.
    #expect(plan.certificate.objective <= best * (1 + 1e-4) + 1e-12)
    #expect(plan.certificate.bound <= best + 1e-12)
    #expect(plan.predicted.storedBytes <= limit)
    #expect(plan.predicted.klDivergenceNatsPerToken == plan.certificate.objective)
    try plan.validate(against: Self.operators)
  }

  @Test("a time budget changes the plan, and both budgets hold in prediction")
  func timeBudget() throws {
    let free = try Self.search(["5bits"])
    let time = try #require(free.predicted.decodeSecondsPerToken)
    let budget = Budget(kind: .decodeSecondsPerToken, limit: time * 0.9)
    let tight = try Self.search(["5bits", "\(budget.limit * 1e3)ms/token"])
    #expect(tight.operators != free.operators)
    #expect(try #require(tight.predicted.decodeSecondsPerToken) <= budget.limit)
    #expect(tight.predicted.bitsPerWeight <= 5)
    let bytes = Int(5 * Double(free.model.plannedWeightCount) / 8)
    let best = try #require(Self.best(bytes: bytes, seconds: budget.limit))
    #expect(tight.certificate.objective <= best * (1 + 1e-4))
  }

  @Test("rows in bands lose less than whole operators at the same size, and cover every row")
  func features() throws {
    let layer = try Self.search(["4.4bits"])
    let feature = try Self.search(["4.4bits"], bands: true)
    #expect(feature.certificate.objective < layer.certificate.objective * 0.8)
    #expect(feature.predicted.bitsPerWeight <= 4.4)
    #expect(feature.operators.contains { $0.segments.count > 1 })
    try feature.validate(against: Self.operators)
    // The salient band is the last 16 rows, since the order is reversed: it has the most bits.
    for assignment in feature.operators where assignment.segments.count > 1 {
      let widest = try #require(assignment.segments.max { $0.format < $1.format })
      #expect(widest.rows.contains { $0.contains(63) })
    }
  }

  @Test(
    "an impossible budget names the smallest value that works",
    arguments: ["2bits", "0.02ms/token", "10KiB"])
  func infeasible(_ budget: String) throws {
    do {
      _ = try Self.search([budget])
      Issue.record("'\(budget)' was met")
    } catch let error as PipelineError {
      #expect(error.kind == .infeasible)
      let advice = try #require(
        error.description.firstMatch(of: /value is ([0-9.]+[a-zA-Z\/]+)/)?.1)
      #expect(throws: Never.self) { try Self.search([String(advice)]) }
    }
  }

  @Test("a time budget without a profile, and a profile without a shape, are errors that say so")
  func missingTimes() throws {
    #expect(throws: PipelineError.self) { try Self.search(["1ms/token"], profile: nil) }
    let stored = Self.profile()
    var profile = stored.profile
    profile.measurements.removeAll { $0.batch == 128 }
    let partial = ProfileStore.Stored(profile: profile, file: stored.file, sha256: stored.sha256)
    do {
      _ = try Self.search(["5bits"], profile: partial)
      Issue.record("a profile without prefill times was accepted")
    } catch let error as PipelineError {
      #expect(error.kind == .stale && error.description.contains("64×128"))
    }
  }
}
