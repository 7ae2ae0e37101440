import BitplanCore
import BitplanPipeline
import BitplanTestSupport
import Foundation

/// Synthetic plans for the report's tests: the shapes of real models, invented losses and times.
enum ReportFixtures {
  /// A plan with everything a report can show.
  struct Example {
    var plan: Plan
    var sensitivity: SensitivityTable
    var profile: DeviceProfile
    var comparisons: [UniformComparison]

    /// The report with every input.
    var report: PlanReport {
      PlanReport(
        plan: plan, sensitivity: sensitivity, profile: profile, comparisons: comparisons)
    }
  }

  /// How an example is made.
  struct Options {
    /// `model_type`; `bert` has the names and the metric of an encoder.
    var architecture = "llama"
    /// Layers.
    var layerCount = 8
    /// Size of the plan in stored bits per weight.
    var bitsPerWeight = 4.2
    /// Whether the larger operators get two or three segments.
    var isSegmented = false
    /// Whether the plan has been executed.
    var isMeasured = true
  }

  /// One of every kind: plain, segmented, deep, without layers, not executed, an encoder.
  static let variants: [Options] = [
    Options(), Options(isSegmented: true), Options(layerCount: 80, isSegmented: true),
    Options(layerCount: 0), Options(isMeasured: false),
    Options(architecture: "bert", layerCount: 6, isSegmented: true),
  ]

  /// An example of every variant, made once.
  static let variantExamples = variants.map { example($0) }

  /// A report in which every name is `text` or ends in it.
  static func hostile(_ text: String) -> PlanReport {
    let base = example()
    func renamed(_ assignment: Plan.Assignment) -> Plan.Assignment {
      let name =
        assignment.name == "lm_head"
        ? text : assignment.name.replacing("self_attn.q_proj", with: text)
      return Plan.Assignment(
        name: name, shape: assignment.shape, segments: assignment.segments)
    }
    let identity = ModelIdentity(
      name: text, sha256: text, architecture: text,
      plannedWeightCount: base.plan.model.plannedWeightCount)
    var plan = Plan(
      model: identity, device: Plan.Device(name: text, profileSHA256: text, simulated: false),
      sensitivity: Plan.SensitivitySource(
        sha256: text, metric: .klDivergenceNatsPerToken, quantizer: text),
      budgets: base.plan.budgets,
      certificate: Certificate(
        status: .feasible, objective: 1, bound: 0.5, solver: text, seconds: 1),
      predicted: base.plan.predicted, operators: base.plan.operators.map(renamed),
      front: base.plan.front)
    plan.measured = base.plan.measured
    var table = base.sensitivity
    table.model = identity
    table.calibration = SensitivityTable.Calibration(
      name: text, sha256: text, windowCount: 1, windowTokens: 1)
    var profile = base.profile
    profile.name = text
    profile.key = DeviceProfile.Key(
      cpuModel: text, instructionSet: text, threadCount: 1, kernelBuild: text)
    return PlanReport(
      plan: plan, sensitivity: table, profile: profile, comparisons: base.comparisons)
  }

  /// An assignment as a plan file brings it.
  static func decodedAssignment(_ json: String) throws -> Plan.Assignment {
    try JSONDecoder().decode(Plan.Assignment.self, from: Data(json.utf8))
  }

  /// A plan made by a Lagrangian search over invented sensitivities.
  static func example(_ options: Options = Options()) -> Example {
    let operators = descriptions(options)
    let table = sensitivity(operators, options)
    let profile = deviceProfile(operators)
    let search = ToySearch(table: table)
    let picks = search.picks(bitsPerWeight: options.bitsPerWeight)
    let assignments = zip(operators, picks).map { description, format in
      assignment(description, format, isSegmented: options.isSegmented)
    }
    let front = search.front()
    let plan = plan(assignments, table, profile, front, options)
    return Example(
      plan: plan, sensitivity: table, profile: profile,
      comparisons: comparisons(search, isMeasured: options.isMeasured))
  }

  // MARK: The model

  private static func descriptions(_ options: Options) -> [OperatorDescription] {
    func describe(
      _ name: String, _ rows: Int, _ columns: Int, _ layer: Int?,
      _ role: OperatorDescription.Role = .linear
    ) -> OperatorDescription {
      OperatorDescription(
        name: name, shape: MatrixShape(outputFeatures: rows, inputFeatures: columns), role: role,
        layer: layer)
    }
    if options.architecture == "bert" {
      let layers = (0..<options.layerCount).flatMap { layer in
        [
          ("attention.self.query", 384, 384), ("attention.self.key", 384, 384),
          ("attention.self.value", 384, 384), ("attention.output.dense", 384, 384),
          ("intermediate.dense", 1536, 384), ("output.dense", 384, 1536),
        ].map { describe("encoder.layer.\(layer).\($0.0)", $0.1, $0.2, layer) }
      }
      return [
        describe("embeddings.word_embeddings", 30_522, 384, nil, .embedding),
        describe("embeddings.position_embeddings", 512, 384, nil, .embedding),
      ] + layers + [describe("pooler.dense", 384, 384, nil)]
    }
    let layers = (0..<options.layerCount).flatMap { layer in
      [
        ("self_attn.q_proj", 256, 256), ("self_attn.k_proj", 128, 256),
        ("self_attn.v_proj", 128, 256), ("self_attn.o_proj", 256, 256),
        ("mlp.gate_proj", 768, 256), ("mlp.up_proj", 768, 256), ("mlp.down_proj", 256, 768),
      ].map { describe("model.layers.\(layer).\($0.0)", $0.1, $0.2, layer) }
    }
    return [describe("model.embed_tokens", 4096, 256, nil, .embedding)] + layers
      + [describe("lm_head", 4096, 256, nil, .head)]
  }

  private static let formats = WeightFormat.evenSteps.filter { $0.bitWidth <= 8 }

  private static func sensitivity(
    _ operators: [OperatorDescription], _ options: Options
  ) -> SensitivityTable {
    var generator = SeededGenerator(state: 20_260_822)
    let total = Double(operators.reduce(0) { $0 + $1.shape.weightCount })
    let rows = operators.map { description in
      // Early values and downs are delicate, keys and queries are not.
      var weight = Double(description.shape.weightCount) / total
      let name = description.name
      if name.hasSuffix("down_proj") || name.hasSuffix("output.dense") { weight *= 2.4 }
      if name.hasSuffix("v_proj") || name.hasSuffix("value") { weight *= 3 }
      if name.hasSuffix("q_proj") || name.hasSuffix("k_proj") { weight *= 0.5 }
      if description.role == .embedding { weight *= 0.3 }
      if let layer = description.layer, layer < 2 { weight *= layer == 0 ? 4 : 1.6 }
      weight *= 0.5 + Double(generator.next() % 1000) / 1000
      return SensitivityTable.Row(
        operatorDescription: description,
        entries: formats.map { format in
          var value = 0.036 * weight
          for bits in min(4, format.bitWidth)..<max(4, format.bitWidth) {
            value *= bits < format.bitWidth && format.bitWidth > 4 ? 1 / 3.75 : 3.75
          }
          value *= format.groupSize == 128 ? 1.17 : format.groupSize == 32 ? 0.85 : 1
          return SensitivityTable.Entry(
            format: format, value: value, standardError: value * 0.08,
            relativeOutputError: value * 3)
        })
    }
    return SensitivityTable(
      model: identity(operators, options),
      metric: options.architecture == "bert" ? .cosineDistance : .klDivergenceNatsPerToken,
      calibration: SensitivityTable.Calibration(
        name: "calibration.txt", sha256: digest("calibration"), windowCount: 16,
        windowTokens: 512),
      options: SensitivityTable.Options(
        method: "mask-guided", seed: 1, passCount: 96, formats: formats,
        quantizer: "round-to-nearest+clip"),
      activationCost: 0.0004, rows: rows)
  }

  private static func identity(
    _ operators: [OperatorDescription], _ options: Options
  ) -> ModelIdentity {
    ModelIdentity(
      name: options.architecture == "bert" ? "all-MiniLM-L6-v2" : "docs-llama",
      sha256: digest("model"), architecture: options.architecture,
      plannedWeightCount: operators.reduce(0) { $0 + $1.shape.weightCount })
  }

  private static func deviceProfile(_ operators: [OperatorDescription]) -> DeviceProfile {
    var measurements: [DeviceProfile.Measurement] = []
    for shape in Set(operators.map(\.shape)).sorted(by: { $0.description < $1.description }) {
      for format in formats {
        let seconds = 1.5e-6 + Double(format.storedBytes(shape)) / 11e9
        // Prefill as well, so that a report that mixes batches up is found out.
        for (batch, factor) in [(1, 1.0), (128, 30)] {
          measurements.append(
            DeviceProfile.Measurement(
              format: format, shape: shape, batch: batch, seconds: seconds * factor,
              spreadSeconds: 1e-7, repeats: 15))
        }
      }
    }
    return DeviceProfile(
      name: "xeon-cascadelake-2t", simulated: false,
      key: DeviceProfile.Key(
        cpuModel: "Intel(R) Xeon(R) Processor @ 2.80GHz", instructionSet: "avx512vnni",
        threadCount: 2, kernelBuild: String(digest("kernels").prefix(16))),
      peaks: DeviceProfile.Peaks(
        readBytesPerSecond: 14e9, readBytesPerSecondOneThread: 9e9,
        int8MultiplyAddsPerSecond: 3e11, float32MultiplyAddsPerSecond: 8e10),
      workingSetBytes: 4_300_000, measurements: measurements, corrections: [])
  }

  // MARK: The plan

  private static func assignment(
    _ description: OperatorDescription, _ format: WeightFormat, isSegmented: Bool
  ) -> Plan.Assignment {
    let rows = description.shape.outputFeatures
    let ladder = WeightFormat.evenSteps.filter { $0.groupSize == format.groupSize && $0 != .f16 }
    guard isSegmented, rows >= 256, let step = ladder.firstIndex(of: format),
      step > 0, step + 1 < ladder.count
    else {
      return Plan.Assignment(
        name: description.name, shape: description.shape,
        segments: [Plan.Segment(format: format, rows: [0..<rows])])
    }
    let (first, second) = (rows / 8 / 16 * 16, rows * 5 / 8 / 16 * 16)
    return Plan.Assignment(
      name: description.name, shape: description.shape,
      segments: [
        Plan.Segment(format: ladder[step + 1], rows: [0..<first]),
        Plan.Segment(format: ladder[step], rows: [first..<second]),
        Plan.Segment(format: ladder[step - 1], rows: [second..<rows]),
      ])
  }

  private static func plan(
    _ assignments: [Plan.Assignment], _ table: SensitivityTable, _ profile: DeviceProfile,
    _ front: [Plan.FrontPoint], _ options: Options
  ) -> Plan {
    let bytes = assignments.reduce(0) { $0 + $1.storedBytes }
    let weights = table.model.plannedWeightCount
    var loss = table.activationCost
    var decode = 0.0
    for (assignment, row) in zip(assignments, table.rows) {
      for segment in assignment.segments {
        let share = Double(segment.rowCount) / Double(assignment.outputFeatures)
        let entry = row.entries.first { $0.format == segment.format }
        loss += share * (entry?.value ?? 0)
        guard row.operatorDescription.isMultiplied else { continue }
        let measurement = profile.measurement(segment.format, assignment.shape, batch: 1)
        decode += share * (measurement?.seconds ?? 0)
      }
    }
    var predicted = Plan.Costs(
      bitsPerWeight: BitsPerWeight(storedBytes: bytes, weightCount: weights).value,
      storedBytes: bytes)
    predicted.decodeSecondsPerToken = decode * 1.06 + 9e-5
    predicted.prefillSeconds = 0.0212
    predicted.prefillTokens = 128
    let isEncoder = table.metric == .cosineDistance
    if isEncoder {
      predicted.cosineDistance = loss
      predicted.cosineDistanceStandardError = loss * 0.03
    } else {
      predicted.klDivergenceNatsPerToken = loss
      predicted.klDivergenceStandardError = loss * 0.024
    }
    var plan = Plan(
      model: table.model,
      device: Plan.Device(
        name: profile.name, profileSHA256: digest("profile"), simulated: false),
      sensitivity: Plan.SensitivitySource(
        sha256: digest("sensitivity"), metric: table.metric, quantizer: table.options.quantizer),
      budgets: [
        Budget(kind: .bitsPerWeight, limit: options.bitsPerWeight),
        Budget(kind: .decodeSecondsPerToken, limit: 0.8e-3),
      ],
      certificate: Certificate(
        status: .optimal, objective: loss - table.activationCost,
        bound: (loss - table.activationCost) * 0.9994, solver: "GLPK 5.0", seconds: nil),
      predicted: predicted, operators: assignments, front: front)
    guard options.isMeasured else { return plan }
    var measured = predicted
    measured.decodeSecondsPerToken = predicted.decodeSecondsPerToken.map { $0 * 1.043 }
    measured.prefillSeconds = 0.0224
    if isEncoder {
      measured.cosineDistance = loss * 1.12
      measured.cosineDistanceStandardError = loss * 0.05
    } else {
      measured.klDivergenceNatsPerToken = loss * 1.08
      measured.klDivergenceStandardError = loss * 0.035
      measured.perplexity = 11.4213
      measured.referencePerplexity = 11.2987
    }
    plan.measured = measured
    return plan
  }

  private static func comparisons(
    _ search: ToySearch, isMeasured: Bool
  ) -> [UniformComparison] {
    ["int3_g128", "int3_g64", "int4_g128", "int4_g64", "int5_g64", "int6_g64", "int8_g128s"]
      .compactMap(WeightFormat.init(identifier:)).map { format in
        let point = search.uniform(format)
        return UniformComparison(
          format: format, bitsPerWeight: point.bitsPerWeight, predictedLoss: point.loss,
          measuredLoss: isMeasured && format.bitWidth < 8 ? point.loss * 0.87 : nil)
      }
  }

  /// 64 hexadecimal digits that stand for a SHA-256.
  static func digest(_ text: String) -> String {
    var generator = SeededGenerator(
      state: text.utf8.reduce(14_695_981_039_346_656_037) { ($0 ^ UInt64($1)) &* 1_099_511_628_211 }
    )
    return (0..<4).map { _ in
      let digits = String(generator.next(), radix: 16)
      return String(repeating: "0", count: 16 - digits.count) + digits
    }.joined()
  }
}

/// One format an operator by a price on bytes: good enough to look like a plan.
private struct ToySearch {
  let table: SensitivityTable
  private let bytes: [[Int]]

  init(table: SensitivityTable) {
    self.table = table
    bytes = table.rows.map { row in
      row.entries.map { $0.format.storedBytes(row.operatorDescription.shape) }
    }
  }

  private func indices(price: Double) -> [Int] {
    zip(table.rows, bytes).map { row, bytes in
      func cost(_ index: Int) -> Double {
        (row.entries[index].value ?? 0) + price * Double(bytes[index])
      }
      return row.entries.indices.min { cost($0) < cost($1) } ?? 0
    }
  }

  private func point(_ indices: [Int]) -> Plan.FrontPoint {
    var (total, loss) = (0, table.activationCost)
    for (operatorIndex, index) in indices.enumerated() {
      total += bytes[operatorIndex][index]
      loss += table.rows[operatorIndex].entries[index].value ?? 0
    }
    return Plan.FrontPoint(
      bitsPerWeight: Double(total) * 8 / Double(table.model.plannedWeightCount), loss: loss)
  }

  private func indices(bitsPerWeight: Double) -> [Int] {
    var (low, high) = (0.0, 1e-3)
    for _ in 0..<50 {
      let middle = (low + high) / 2
      if point(indices(price: middle)).bitsPerWeight > bitsPerWeight {
        low = middle
      } else {
        high = middle
      }
    }
    return indices(price: high)
  }

  func picks(bitsPerWeight: Double) -> [WeightFormat] {
    zip(table.rows, indices(bitsPerWeight: bitsPerWeight)).map { $0.entries[$1].format }
  }

  func uniform(_ format: WeightFormat) -> Plan.FrontPoint {
    point(table.rows.map { row in row.entries.firstIndex { $0.format == format } ?? 0 })
  }

  func front() -> [Plan.FrontPoint] {
    stride(from: 2.4, through: 7.2, by: 0.3).map { point(indices(bitsPerWeight: $0)) }
  }
}
