import BitplanCore
import Foundation

/// One artifact of each kind with every optional value present.
enum SampleArtifacts {
  static let hash = String(repeating: "0123456789abcdef", count: 4)
  static let int4 = WeightFormat(identifier: "int4_g64")!
  static let int8 = WeightFormat(identifier: "int8_g128s")!

  static let operators = [
    OperatorDescription(
      name: "model.layers.0.mlp.down_proj",
      shape: MatrixShape(outputFeatures: 160, inputFeatures: 768), role: .linear, layer: 0),
    OperatorDescription(
      name: "lm_head", shape: MatrixShape(outputFeatures: 512, inputFeatures: 160), role: .head,
      layer: nil),
  ]

  static let transforms: [EquivalenceTransform] = [
    .rotation(.residual, layer: nil, seed: 3), .rotation(.value, layer: 0, seed: 3),
    .scaling(
      .mlpInput, layer: 0, ScalingRule(.mean, inputExponent: 0.5, weightExponent: 0.25)),
  ]

  static var model: ModelIdentity {
    ModelIdentity(
      name: "sample", sha256: hash, architecture: "llama",
      plannedWeightCount: operators.reduce(0) { $0 + $1.shape.weightCount })
  }

  static var plan: Plan {
    let assignments = [
      Plan.Assignment(
        name: operators[0].name, shape: operators[0].shape,
        segments: [
          Plan.Segment(format: int4, rows: [0..<96, 128..<160]),
          Plan.Segment(format: int8, rows: [96..<128]),
        ]),
      Plan.Assignment(
        name: operators[1].name, shape: operators[1].shape,
        segments: [Plan.Segment(format: int8, rows: [0..<512])], activations: .int16,
        branch: .outliers(basisPoints: 25)),
    ]
    let bytes = assignments.reduce(0) { $0 + $1.storedBytes }
    let bits = BitsPerWeight(storedBytes: bytes, weightCount: model.plannedWeightCount).value
    var predicted = Plan.Costs(bitsPerWeight: bits, storedBytes: bytes)
    predicted.decodeSecondsPerToken = 0.00061
    predicted.prefillSeconds = 0.021
    predicted.prefillTokens = 128
    predicted.decodeJoulesPerToken = 0.0021
    predicted.klDivergenceNatsPerToken = 0.0173
    predicted.klDivergenceStandardError = 0.0004
    predicted.cosineDistance = 0.001
    predicted.cosineDistanceStandardError = 0.0001
    var measured = predicted
    measured.decodeSlowdown = 1.25
    measured.prefillSlowdown = 0.8
    measured.perplexity = 12.25
    measured.referencePerplexity = 12
    var plan = Plan(
      model: model, device: Plan.Device(name: "sample-2t", profileSHA256: hash, simulated: false),
      sensitivity: Plan.SensitivitySource(
        sha256: hash, metric: .klDivergenceNatsPerToken, quantizer: "round-to-nearest+clip"),
      budgets: [
        Budget(kind: .bitsPerWeight, limit: bits),
        Budget(kind: .storedBytes, limit: Double(bytes + 1)),
        Budget(kind: .decodeSecondsPerToken, limit: 0.00061),
        Budget(kind: .prefillSeconds, limit: 0.03),
        Budget(kind: .decodeJoulesPerToken, limit: 0.003),
      ],
      certificate: Certificate(
        status: .optimal, objective: 0.0173, bound: 0.01729, solver: "GLPK 5.0", seconds: 0.21),
      predicted: predicted, operators: assignments,
      front: [Plan.FrontPoint(bitsPerWeight: 4.25, loss: 0.02)], transforms: transforms)
    plan.measured = measured
    plan.goal = Plan.Goal(minimized: .storedBytes, maximumLoss: 0.02)
    plan.context = Plan.Context(tokenCount: 128, keyValueBytes: 1)
    plan.rules = Plan.Rules(
      pins: [.init(pattern: "lm_head", format: int8)], excluded: ["*.o_proj"],
      floors: [.init(pattern: "*", bitWidth: 4)], fused: [.queryKeyValue, .gateUp])
    plan.check = Plan.Check(
      text: .init(name: "calibration.txt", sha256: hash, windowCount: 8, windowTokens: 512),
      rounds: [
        .init(
          storedBytes: bytes, predictedLoss: 0.0173, measuredLoss: 0.0181,
          measuredStandardError: 0.0004)
      ],
      keptRound: 0,
      uniform: .init(format: int4, storedBytes: bytes - 1, measuredLoss: 0.03),
      lossFactors: [.init(bitWidth: 4, factor: 1.1)])
    plan.check?.sixteenBitActivations = .init(lossWithEightBits: 0.0181, loss: 0.0179)
    plan.keyValueCache = Plan.KeyValueCache(format: .int8, loss: 0.0001)
    plan.ties = Plan.Ties(lossGivenUp: 0.0001, decodeSecondsPerTokenSaved: 1e-6)
    plan.stability = Plan.Stability(resampleCount: 16, seed: 1, keptWeightShare: 0.93)
    return plan
  }

  static var front: Front {
    let plan = plan
    return Front(
      model: model, device: plan.device, sensitivity: plan.sensitivity,
      lossFactors: [.init(bitWidth: 4, factor: 1.1)],
      points: [Front.Point(predicted: plan.predicted, bound: 0.017)],
      references: [
        Front.Reference(name: "int4_g64", predicted: plan.predicted),
        Front.Reference(name: Front.mixedRuleName, predicted: plan.predicted),
      ])
  }

  static var profile: DeviceProfile {
    var profile = DeviceProfile(
      name: "sample-2t", simulated: false,
      key: DeviceProfile.Key(
        cpuModel: "A CPU", instructionSet: "avx512vnni", threadCount: 2, kernelBuild: "1"),
      peaks: DeviceProfile.Peaks(
        readBytesPerSecond: 2e10, readBytesPerSecondOneThread: 1.2e10,
        int8MultiplyAddsPerSecond: 5e11, float32MultiplyAddsPerSecond: 1e11),
      usesLookup: true, workingSetBytes: 6_000_000,
      measurements: [1, 128].map { batch in
        DeviceProfile.Measurement(
          format: int4, shape: operators[0].shape, batch: batch, seconds: 1e-5,
          spreadSeconds: 1e-7, repeats: 31, joules: 0.001)
      },
      corrections: [
        DeviceProfile.Correction(
          architectureSHA256: hash, batch: 1, factor: 1.05, fixedSeconds: 2e-5,
          sixteenBitActivationFactor: 1.3, inputRotationSeconds: 2e-6,
          inputKroneckerSeconds: 3e-6)
      ])
    profile.branches = [1, 128].map { batch in
      DeviceProfile.BranchMeasurement(
        branch: .lowRank(16), shape: operators[0].shape, batch: batch, seconds: 1e-6,
        spreadSeconds: 1e-8, repeats: 31, joules: 0.0001)
    }
    return profile
  }

  static var sensitivity: SensitivityTable {
    var table = SensitivityTable(
      model: model, metric: .klDivergenceNatsPerToken,
      calibration: SensitivityTable.Calibration(
        name: "calibration.txt", sha256: hash, windowCount: 8, windowTokens: 256),
      options: SensitivityTable.Options(
        method: "masks", seed: 7, passCount: 200, formats: [int4, int8],
        quantizer: "round-to-nearest+clip", transforms: "auto",
        branches: [.lowRank(16), .outliers(basisPoints: 50)]),
      activationCost: 0.0002,
      rows: operators.map { description in
        SensitivityTable.Row(
          operatorDescription: description,
          entries: [int4, int8].map {
            SensitivityTable.Entry(
              format: $0, value: 0.003, standardError: 0.0001, relativeOutputError: 0.002)
          },
          bands: SensitivityTable.Bands(
            height: 16, rowOrder: Array((0..<description.shape.outputFeatures).reversed()),
            losses: [int4, int8].map { _ in
              [Double](
                repeating: 0.001, count: (description.shape.outputFeatures + 15) / 16)
            }),
          branches: [
            SensitivityTable.Branched(
              branch: .lowRank(16),
              losses: [int4, int8].map { _ in
                [Double](
                  repeating: 0.0009, count: (description.shape.outputFeatures + 15) / 16)
              })
          ])
      }, transforms: transforms)
    table.activationCosts = [0.0001, 0.0001]
    table.passesMade = 120
    table.keyValueCosts = [Plan.KeyValueCache(format: .int8, loss: 0.0001)]
    return table
  }

  static func decoded<Value: Decodable>(_ value: JSONValue) throws -> Value {
    try JSONDecoder().decode(Value.self, from: JSONEncoder().encode(value))
  }

  static func json(_ value: some Encodable) throws -> JSONValue {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys]
    return try JSONDecoder().decode(JSONValue.self, from: encoder.encode(value))
  }
}
