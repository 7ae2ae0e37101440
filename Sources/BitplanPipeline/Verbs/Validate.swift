internal import BitplanCheckpoint
public import BitplanCore
internal import BitplanDevices
internal import BitplanEngine
internal import BitplanKernels
internal import BitplanQuantizers
internal import BitplanSensitivity
internal import Foundation

/// What `plan validate` is asked.
public struct ValidateRequest: Sendable {
  /// The plan.
  public var planFile: String
  /// Packed checkpoint to execute; packed in memory by default.
  public var packed: String?
  /// Held-out text; `evaluation.txt` beside the model by default.
  public var evaluation: String?
  /// Text for activation statistics, where packing happens here.
  public var calibration: String?
  /// Windows of held-out text.
  public var windowCount = 16
  /// The device profile that the plan's times come from; looked for in the profiles folder by default.
  public var profile: String?
  /// Largest relative deviation of measured times, at the profile's speed.
  public var timeTolerance = 0.25
  /// Largest ratio between measured and predicted loss, either way.
  public var lossTolerance = 2.0
  /// Compare with uniform formats of the same or smaller size.
  public var comparesUniform = true
  /// How the executed plan keeps keys and values; as the plan says by default.
  public var keyValueCache: KeyValueFormat?
  /// Write the measured values into the plan file.
  public var record = false

  /// A request with the defaults.
  public init(planFile: String) { self.planFile = planFile }
}

/// One thing that was checked.
public struct ValidationCheck: Codable, Hashable, Sendable {
  /// What was checked.
  public let name: String
  /// Whether it held.
  public let passed: Bool
  /// The figures.
  public let detail: String
}

/// Predicted beside measured.
public struct ValidationResult: Codable, Sendable {
  /// What the plan says.
  public let predicted: Plan.Costs
  /// What executing it gave.
  public let measured: Plan.Costs
  /// What was checked.
  public let checks: [ValidationCheck]
  /// Uniform formats of the same or smaller size, executed on the same text.
  public let uniform: [UniformComparison]

  /// The failure that the broken tolerances amount to, if any are broken.
  public var failure: PipelineError? {
    let broken = checks.filter { !$0.passed }
    guard !broken.isEmpty else { return nil }
    return PipelineError(
      .toleranceBroken,
      "The plan did not hold: " + broken.map { "\($0.name) (\($0.detail))" }.joined(separator: "; ")
        + ".")
  }

  /// The table for people.
  public var text: String {
    var lines = ["", "                          predicted      measured"]
    func row(_ name: String, _ predicted: String?, _ measured: String?) {
      guard predicted != nil || measured != nil else { return }
      let cells = [predicted ?? "–", measured ?? "–"].map {
        String(repeating: " ", count: max(0, 14 - $0.count)) + $0
      }
      lines.append(name.padding(toLength: 21, withPad: " ", startingAt: 0) + cells.joined())
    }
    func speedRow(_ seconds: Double?, _ slowdown: Double?) {
      guard let seconds, let slowdown else { return }
      row("  at profile's speed", nil, Figures.milliseconds(seconds / slowdown))
    }
    let (p, m) = (predicted, measured)
    row(
      "bits per weight", String(format: "%.4f", p.bitsPerWeight),
      String(format: "%.4f", m.bitsPerWeight))
    row("stored bytes", "\(p.storedBytes)", "\(m.storedBytes)")
    row(
      "decode, per token", p.decodeSecondsPerToken.map(Figures.milliseconds),
      m.decodeSecondsPerToken.map(Figures.milliseconds))
    speedRow(m.decodeSecondsPerToken, m.decodeSlowdown)
    row(
      "prefill, \(m.prefillTokens ?? p.prefillTokens ?? 0) tokens",
      p.prefillSeconds.map(Figures.milliseconds), m.prefillSeconds.map(Figures.milliseconds))
    speedRow(m.prefillSeconds, m.prefillSlowdown)
    row(
      "KL, nats/token", p.klDivergenceNatsPerToken.map { Figures.significant($0) },
      m.klDivergenceNatsPerToken.map { Figures.significant($0) })
    row(
      "cosine distance", p.cosineDistance.map { Figures.significant($0) },
      m.cosineDistance.map { Figures.significant($0) })
    row(
      "perplexity", p.perplexity.map { Figures.significant($0, digits: 5) },
      m.perplexity.map { Figures.significant($0, digits: 5) })
    row("  reference", nil, m.referencePerplexity.map { Figures.significant($0, digits: 5) })
    if !uniform.isEmpty {
      lines += [
        "", "uniform formats of the same or smaller size   bits per weight   measured loss",
      ]
      for item in uniform {
        let loss = item.measuredLoss.map { Figures.significant($0) } ?? "–"
        lines.append(
          "  " + item.format.identifier.padding(toLength: 44, withPad: " ", startingAt: 0)
            + String(format: "%15.3f", item.bitsPerWeight)
            + String(repeating: " ", count: max(0, 16 - loss.count)) + loss)
      }
    }
    lines.append("")
    lines += checks.map { "\($0.passed ? "ok  " : "FAIL")  \($0.name): \($0.detail)" }
    return lines.joined(separator: "\n")
  }
}

/// `plan validate`: execute the plan and compare.
extension Workbench {
  /// Tokens of one held-out window.
  static let evaluationWindow = 512

  /// Executes the plan on held-out text.
  public func validate(
    _ source: ModelSource, _ request: ValidateRequest
  ) throws(PipelineError) -> ValidationResult {
    do { return try validated(source, request) } catch { throw PipelineError(wrapping: error) }
  }

  /// Executes a packed checkpoint by itself: bytes, times and perplexity. Loss needs the float
  /// checkpoint as its reference and is left out.
  public func validate(
    packed path: String, _ request: ValidateRequest
  ) throws(PipelineError) -> ValidationResult {
    do {
      let plan = try Self.readPlan(request.planFile)
      let model = try Self.packedModel(path, of: plan, request)
      progress.begin("execute", total: 1)
      var costs = try executed(model, plan, request.profile)
      if model.objective == .nextToken {
        let text = try TextSource(
          path: request.evaluation, defaultName: "evaluation.txt",
          folder: URL(filePath: path).deletingLastPathComponent(), option: "--evaluation")
        let windows = try TokenWindows.languageModel(
          name: text.name, text: text.text, tokenizer: PackedCheckpoint.tokenizer(path: path),
          count: request.windowCount, length: min(Self.evaluationWindow, model.maximumTokens),
          placement: .first)
        costs.perplexity = try LanguageModelEvaluation(windows: windows.windows)
          .perplexity(of: model, context).perplexity
      }
      progress.end("\(model.operators.count) operators")
      return ValidationResult(
        predicted: plan.predicted, measured: costs,
        checks: ValidationChecks.all(plan.predicted, costs, [], plan, request), uniform: [])
    } catch let error as TokenWindows.TooShort {
      throw PipelineError(.invalidInput, error.description)
    } catch {
      throw PipelineError(wrapping: error)
    }
  }

  private func validated(
    _ source: ModelSource, _ request: ValidateRequest
  ) throws -> ValidationResult {
    var plan = try Self.readPlan(request.planFile)
    try Self.requireMatch(plan, source)
    let source = try transformed(source, plan.transforms) {
      try calibrationWindows(source, request.calibration)
    }
    let statistics = try calibrationStatistics(
      source, try Self.quantizer(of: plan), request.calibration)
    let packed: Model
    if let path = request.packed {
      packed = try Self.packedModel(path, of: plan, request)
    } else {
      packed = source.model.replacingAll(with: try quantized(source, plan, statistics))
    }
    let text = try TextSource(
      path: request.evaluation, defaultName: "evaluation.txt", folder: source.folder,
      option: "--evaluation")
    let held = try windows(
      source, text, count: request.windowCount, length: Self.evaluationWindow, placement: .first)
    let meter = LossMeter(model: source.model, windows: held.windows, context: context)
    progress.begin("reference", total: held.windows.count)
    try meter.makeReference { done, total in
      try cancellation.check()
      progress.advance(done, of: total)
    }
    progress.end("\(held.tokens.count) held-out tokens")
    meter.keyValueFormat = request.keyValueCache ?? plan.keyValueCache?.format ?? .float
    let measured = try measure(packed, plan, meter, request)
    meter.keyValueFormat = .float
    let uniform =
      request.comparesUniform
      ? try uniformComparisons(source, plan, statistics, meter) : []
    let result = ValidationResult(
      predicted: plan.predicted, measured: measured,
      checks: ValidationChecks.all(plan.predicted, measured, uniform, plan, request),
      uniform: uniform)
    if request.record {
      plan.measured = measured
      try ArtifactOutput.write(plan, to: URL(filePath: request.planFile))
      try ArtifactOutput.write(uniform, to: Self.comparisonsFile(request.planFile))
    }
    return result
  }

  /// A packed checkpoint of the plan.
  private static func packedModel(
    _ path: String, of plan: Plan, _ request: ValidateRequest
  ) throws -> Model {
    let (model, inner) = try PackedCheckpoint.loadWithPlan(path: path)
    guard inner.operators == plan.operators else {
      throw PipelineError(
        .stale,
        "'\(URL(filePath: path).lastPathComponent)' was packed by another plan than "
          + "'\(URL(filePath: request.planFile).lastPathComponent)'. Pack the model again.")
    }
    return model
  }

  private func measure(
    _ packed: Model, _ plan: Plan, _ meter: LossMeter, _ request: ValidateRequest
  ) throws -> Plan.Costs {
    progress.begin("execute", total: 1)
    var costs = try executed(packed, plan, request.profile)
    let loss = try meter.report(packed)
    switch meter.metric {
    case .klDivergenceNatsPerToken:
      costs.klDivergenceNatsPerToken = loss.mean
      costs.klDivergenceStandardError = loss.standardError
      costs.perplexity = loss.perplexity
      costs.referencePerplexity = loss.referencePerplexity
    case .cosineDistance:
      costs.cosineDistance = loss.mean
      costs.cosineDistanceStandardError = loss.standardError
    }
    progress.end("\(meter.windowCount) windows")
    return costs
  }

  /// Bytes and times of a packed model.
  private func executed(
    _ packed: Model, _ plan: Plan, _ profile: String?
  ) throws -> Plan.Costs {
    let stored = packed.packedBytes
    var costs = Plan.Costs(
      bitsPerWeight: BitsPerWeight(
        storedBytes: stored, weightCount: plan.model.plannedWeightCount
      ).value,
      storedBytes: stored)
    let comparable = try comparableProfile(plan, profile)
    let cases = comparable.map { _ in PassCases(packed.operators, plan.operators.map(\.segments)) }
    let timer = WholeModelTimer(context: context, cancellation: cancellation)
    let times = try timer.measure(
      [.init(model: packed, cases: cases)],
      workingSetBytes: Self.workingSetBytes(packed.operators)
    ) { progress.advance($0, of: $1) }[0]
    let (decode, prefill) = (times[1], times[PlanProblem.prefillTokens])
    costs.decodeSecondsPerToken = decode?.seconds
    costs.prefillSeconds = prefill?.seconds
    costs.prefillTokens = prefill == nil ? nil : PlanProblem.prefillTokens
    if let cases, let comparable {
      let sums = cases.sums(comparable)
      costs.decodeSlowdown = Self.slowdown(decode, sums[1])
      costs.prefillSlowdown = Self.slowdown(prefill, sums[PlanProblem.prefillTokens])
    }
    return costs
  }

  /// The profile that the plan's times come from, where it is at hand and of this machine.
  private func comparableProfile(_ plan: Plan, _ path: String?) throws -> DeviceProfile? {
    guard plan.device?.simulated == false else { return nil }
    guard let profile = try profileBehind(plan, path)?.profile else {
      progress.note(
        "validate: the device profile that the plan was made with is not in \(profilesFolder.path), so "
          + "times are compared as they are. Name it with --profile.")
      return nil
    }
    return profile.key == CPUIdentity.key(context) ? profile : nil
  }

  /// How many times as long a pass took as at the speed that the machine had when its operators' times in
  /// a profile, `sum` in all, were measured.
  private static func slowdown(_ times: WholeModelTimer.Times?, _ sum: Double?) -> Double? {
    guard let times, let ratio = times.overOperators, let sum, sum > 0 else { return nil }
    return times.seconds / (ratio * sum)
  }

  /// Every uniform format that is not larger than the plan, executed on the same text.
  private func uniformComparisons(
    _ source: ModelSource, _ plan: Plan, _ statistics: [OperatorStatistics], _ meter: LossMeter
  ) throws -> [UniformComparison] {
    let operators = source.model.operators
    let formats = WeightFormat.all.filter {
      [.affine, .symmetric, .nonlinear].contains($0.coding)
    }
    let sizes = formats.map { format in
      (format: format, bytes: operators.reduce(0) { $0 + format.storedBytes($1.shape) })
    }.filter { $0.bytes <= plan.predicted.storedBytes && $0.format.bitWidth > 2 }
    progress.begin("uniform", total: sizes.count)
    var result: [UniformComparison] = []
    let variants = VariantStore(
      model: source.model, statistics: statistics,
      quantizer: OperatorQuantizer(try Self.quantizer(of: plan), pool: context.pool),
      maximumBytes: 0)
    for (index, size) in sizes.enumerated() {
      try cancellation.check()
      progress.advance(index, of: sizes.count)
      let packed = operators.indices.map { variants.variant($0, size.format) }
      result.append(
        UniformComparison(
          format: size.format,
          bitsPerWeight: BitsPerWeight(
            storedBytes: size.bytes, weightCount: plan.model.plannedWeightCount
          ).value,
          predictedLoss: nil, measuredLoss: try meter.loss(source.model.replacingAll(with: packed)))
      )
    }
    progress.end("\(result.count) formats")
    return result
  }

  /// Where the measured uniform formats of a plan are kept for the report.
  static func comparisonsFile(_ planFile: String) -> URL {
    let plan = URL(filePath: planFile)
    let stem = plan.lastPathComponent.replacingOccurrences(of: ".plan.json", with: "")
      .replacingOccurrences(of: ".json", with: "")
    return plan.deletingLastPathComponent().appending(path: "\(stem).uniform.json")
  }

  /// The uniform formats measured for a plan, or none.
  static func comparisons(beside planFile: String) throws(PipelineError) -> [UniformComparison] {
    let file = comparisonsFile(planFile)
    guard let data = FileManager.default.contents(atPath: file.path) else { return [] }
    do { return try JSONDecoder().decode([UniformComparison].self, from: data) } catch {
      throw PipelineError(
        .invalidInput,
        "'\(file.lastPathComponent)' beside the plan is malformed. Remove it, or run 'plan validate --record'."
      )
    }
  }
}
