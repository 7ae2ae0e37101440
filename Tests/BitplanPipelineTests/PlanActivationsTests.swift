import BitplanCore
import BitplanPipeline
import Foundation
import Testing

/// 16-bit activations and the KV cache as parts of a plan, on made-up artifacts.
struct PlanActivationsTests {
  typealias Made = PlanSearchTests

  /// What rotating all inputs adds to a pass.
  static let rotationSeconds = 7e-6
  static let costs = [0.012, 0.005, 0.001, 0]

  /// Artifacts with 6-bit weights everywhere at 6.4 bits: 0.0115 of loss besides the activations'
  /// 0.018, 61 µs of decoding and 5.6 ms of prefill. 16 bits take a fifth more, and twice as long.
  static func inputs(
    _ budgets: [String] = ["6.4bits"], hasFactors: Bool = true
  ) throws -> PlanSearch.Inputs {
    var table = Made.table()
    table.activationCost = costs.reduce(0, +)
    table.activationCosts = costs
    table.keyValueCosts = [.init(format: .int8, loss: 0.002)]
    let plain = Made.profile().profile
    let corrections = [(1, 5e-6, 1.2), (128, 0, 2.0)].map { batch, fixed, factor in
      DeviceProfile.Correction(
        architectureSHA256: Made.hash, batch: batch, factor: 1, fixedSeconds: fixed,
        sixteenBitActivationFactor: hasFactors ? factor : nil,
        inputRotationSeconds: hasFactors ? rotationSeconds : nil,
        inputKroneckerSeconds: hasFactors ? 2 * rotationSeconds : nil)
    }
    let profile = DeviceProfile(
      name: plain.name, simulated: true, key: plain.key, peaks: plain.peaks, workingSetBytes: 1,
      measurements: plain.measurements, corrections: corrections)
    var inputs = PlanSearch.Inputs(
      sensitivity: table, sensitivitySHA256: Made.hash,
      profile: ProfileStore.Stored(
        profile: profile, file: URL(filePath: "made-up.json"), sha256: Made.hash),
      architectureSHA256: Made.hash, budgets: try budgets.map(Budget.init(parsing:)))
    inputs.frontPoints = 0
    inputs.resampleCount = 2
    return inputs
  }

  static func executor(_ factor: Double = 1) -> PlanExecutor {
    PlanExecutor(text: .init(name: "check", sha256: Made.hash, windowCount: 2, windowTokens: 8)) {
      plan, _ in
      let loss = plan.operators.enumerated().reduce(0) { sum, entry in
        sum + (Made.table().rows[entry.offset].loss(of: entry.element.segments[0]) ?? 0)
          + costs[entry.offset] * (entry.element.activations == .int16 ? factor - 1 : 1)
      }
      return PlanExecutor.Loss(mean: loss, standardError: 0.0001)
    }
  }

  @Test("operators get 16 bits where the share of loss saved exceeds the share of time added")
  func chooses() throws {
    var inputs = try Self.inputs()
    let narrow = try PlanSearch.run(inputs).plan
    #expect(narrow.operators.allSatisfy { $0.activations == .int8 })
    inputs.choosesActivations = true
    let plan = try PlanSearch.run(inputs).plan
    // First: 0.012 of 0.0295, for 1.4 of 5.6 ms. Second: 0.005 of 0.0175 for 1.4 of 7 ms. Third:
    // 0.001 of 0.0125 for 1.4 of 8.4 ms, which is too little. The last has nothing to save.
    #expect(plan.operators.map(\.activations) == [.int16, .int16, .int8, .int8])
    #expect(plan.operators.map(\.segments) == narrow.operators.map(\.segments))
    let predicted = plan.predicted
    let left = 0.017 / (254 * 254)
    #expect(abs(try #require(predicted.klDivergenceNatsPerToken) - (0.0125 + left)) < 1e-12)
    #expect(abs(try #require(predicted.decodeSecondsPerToken) - 66.6e-6) < 1e-12)
    #expect(abs(try #require(predicted.prefillSeconds) - 8.4e-3) < 1e-12)
    #expect(abs(plan.certificate.objective - (0.0125 + left)) < 1e-12)
    // The proof is about the same difference.
    let gaps = [plan, narrow].map { $0.certificate.objective - $0.certificate.bound }
    #expect(abs(gaps[0] - gaps[1]) < 1e-12)
    try plan.validate(against: Made.operators)
  }

  @Test("inputs that are rotated at run time take the time that the profile says")
  func rotatedInputs() throws {
    var inputs = try Self.inputs()
    let plain = try PlanSearch.run(inputs).plan.predicted
    let layers = 1 + (Made.operators.compactMap(\.layer).max() ?? 0)
    inputs.sensitivity.transforms = (0..<layers).map { .rotation(.downInput, layer: $0, seed: 1) }
    let turned = try PlanSearch.run(inputs).plan.predicted
    let (before, after) = (
      try #require(plain.decodeSecondsPerToken), try #require(turned.decodeSecondsPerToken)
    )
    #expect(abs(after - before - Self.rotationSeconds) < 1e-12)
    #expect(turned.prefillSeconds.map { $0 - Self.rotationSeconds > before } == true)
    // A decode budget that the same plan only holds without rotations.
    let limit = before + Self.rotationSeconds / 2
    inputs.budgets.append(try Budget(parsing: "\(limit * 1e6)us/token"))
    let tight = try PlanSearch.run(inputs).plan.predicted
    #expect(try #require(tight.decodeSecondsPerToken) <= limit + 1e-12)
    #expect(
      try #require(tight.klDivergenceNatsPerToken) > #require(turned.klDivergenceNatsPerToken))
    // The other form has a time of its own, and a layer takes its share.
    inputs = try Self.inputs()
    inputs.sensitivity.transforms = [.kronecker(layer: 0, seed: 1)]
    let one = try #require(try PlanSearch.run(inputs).plan.predicted.decodeSecondsPerToken)
    #expect(abs(one - before - 2 * Self.rotationSeconds / Double(layers)) < 1e-12)
    inputs = try Self.inputs(hasFactors: false)
    inputs.sensitivity.transforms = [.rotation(.downInput, layer: 0, seed: 1)]
    #expect { try PlanSearch.run(inputs) } throws: {
      "\($0)".contains("--transforms none")
    }
  }

  @Test("a time budget holds with 16 bits too")
  func keepsBudgets() throws {
    var inputs = try Self.inputs(["6.4bits", "7.1ms/prefill"])
    inputs.choosesActivations = true
    let plan = try PlanSearch.run(inputs).plan
    #expect(plan.operators.map(\.activations) == [.int16, .int8, .int8, .int8])
    try plan.validate(against: Made.operators)
  }

  @Test("16 bits are kept only where the executed plan loses less with them")
  func executes() throws {
    var inputs = try Self.inputs()
    inputs.choosesActivations = true
    let plan = try PlanSearch.run(inputs, executor: Self.executor()).plan
    #expect(plan.operators.map(\.activations) == [.int16, .int16, .int8, .int8])
    let measured = try #require(plan.check?.sixteenBitActivations)
    #expect(abs(measured.lossWithEightBits - 0.0295) < 1e-12)
    #expect(measured.loss < 0.0295 && plan.check?.keptLoss == measured.loss)
    // The same search, where 16 bits do harm.
    let harmed = try PlanSearch.run(inputs, executor: Self.executor(3)).plan
    #expect(harmed.operators.allSatisfy { $0.activations == .int8 })
    #expect(harmed.check?.sixteenBitActivations == nil)
  }

  @Test("16 bits everywhere leave next to nothing of the activations' loss and take their time")
  func everywhere() throws {
    var inputs = try Self.inputs()
    inputs.activations = Made.operators.map { _ in .int16 }
    let plan = try PlanSearch.run(inputs).plan
    let loss = try #require(plan.predicted.klDivergenceNatsPerToken)
    #expect(abs(loss - 0.0115 - 0.018 / (254 * 254)) < 1e-12)
    #expect(abs(try #require(plan.predicted.prefillSeconds) - 11.2e-3) < 1e-12)
    let encoded = try JSONEncoder().encode(plan)
    #expect(try JSONDecoder().decode(Plan.self, from: encoded) == plan)
  }

  @Test("a profile that does not say what 16 bits cost is no ground for them")
  func needsFactors() throws {
    var inputs = try Self.inputs(hasFactors: false)
    inputs.choosesActivations = true
    #expect(try PlanSearch.run(inputs).plan.operators.allSatisfy { $0.activations == .int8 })
    inputs.activations = Made.operators.map { _ in .int16 }
    let refused = inputs
    #expect {
      try PlanSearch.run(refused)
    } throws: { error in
      (error as? PipelineError)?.kind == .invalidInput
        && "\(error)".contains("how long 16-bit activations take")
    }
  }

  @Test("what a KV cache loses is part of the prediction, and must have been measured")
  func cache() throws {
    var inputs = try Self.inputs()
    let float = try PlanSearch.run(inputs).plan
    inputs.keyValueCache = .int8
    let plan = try PlanSearch.run(inputs).plan
    #expect(plan.keyValueCache == .init(format: .int8, loss: 0.002))
    let losses = try [plan, float].map { try #require($0.predicted.klDivergenceNatsPerToken) }
    #expect(abs(losses[0] - losses[1] - 0.002) < 1e-12)
    try plan.validate(against: Made.operators)
    inputs.keyValueCache = .int4
    let refused = inputs
    #expect {
      try PlanSearch.run(refused)
    } throws: { error in
      (error as? PipelineError)?.kind == .invalidInput && "\(error)".contains("KV cache of int4")
    }
  }
}
