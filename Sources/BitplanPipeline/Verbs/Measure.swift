internal import BitplanCheckpoint
public import BitplanCore
internal import BitplanEngine
internal import BitplanKernels
internal import BitplanQuantizers
internal import BitplanSensitivity
public import Foundation

/// What `plan measure` is asked.
public struct MeasureRequest: Sendable {
  /// Text to measure on; `calibration.txt` beside the model by default. `self` lets the model write
  /// its own.
  public var calibration: String?
  /// Candidate formats; all by default.
  public var formats: [WeightFormat]?
  /// Candidate side branches; none by default.
  public var branches: [SideBranch] = []
  /// Seed of every random choice.
  public var seed: UInt64 = 1
  /// How codes are found: a raw value of `OperatorQuantizer.Method`.
  public var quantizer = OperatorQuantizer.Method.errorFeedback.rawValue
  /// Name of the estimation method: `salience`, `masks`, `plain-masks`, `pd-quant` or `swap`.
  public var method = "salience"
  /// Where the sensitivity goes; `MODEL.sensitivity.json` in the current folder by default.
  public var output: String?
  /// Equivalence transforms that are applied before measuring.
  public var transforms = TransformSelection.standard
  /// Measure although a fitting file exists.
  public var remeasure = false

  /// A request with the defaults.
  public init() {}
}

/// A sensitivity table and the file it came from.
public struct StoredSensitivity: Sendable {
  /// The table.
  public let table: SensitivityTable
  /// Its file.
  public let file: URL
  /// SHA-256 of the file.
  public let sha256: String
}

/// `plan measure`: what every (operator, format) costs in accuracy.
extension Workbench {
  /// Tokens of one calibration window, and how many windows there are.
  static let calibrationWindow = 512
  static let calibrationCount = 8
  /// Windows for products of input features: a matrix of a thousand features takes several thousand
  /// tokens to know.
  static let wideCalibrationCount = 32

  /// Measures `source`, or reuses a file that fits.
  public func measure(
    _ source: ModelSource, _ request: MeasureRequest
  ) throws(PipelineError) -> StoredSensitivity {
    do { return try makeSensitivity(source, request) } catch {
      throw PipelineError(wrapping: error)
    }
  }

  private func makeSensitivity(
    _ source: ModelSource, _ request: MeasureRequest
  ) throws -> StoredSensitivity {
    let model = source.model
    let windows = try calibrationWindows(source, request.calibration)
    let formats = try CandidateFormats.chosen(request.formats, for: model)
    guard let method = MaskGuidedEstimation.Method(rawValue: request.method) else {
      throw PipelineError(
        .invalidInput,
        "There is no method '\(request.method)'. Choose one of: "
          + MaskGuidedEstimation.Method.allCases.map(\.rawValue).joined(separator: ", ") + ".")
    }
    guard let quantizer = OperatorQuantizer.Method(rawValue: request.quantizer) else {
      throw PipelineError(
        .invalidInput,
        "There is no quantizer '\(request.quantizer)'. Choose one of: "
          + OperatorQuantizer.Method.allCases.map(\.rawValue).joined(separator: ", ") + ".")
    }
    let design = MaskDesign(
      operatorCount: model.operators.count, formats: formats, seed: request.seed,
      hasGradients: method == .salience)
    // What nobody named and the model does not allow was not asked for.
    let transforms =
      request.transforms.isStandard && !model.canRotateDownInput ? .none : request.transforms
    let options = SensitivityTable.Options(
      method: method.rawValue, seed: request.seed,
      passCount: Self.passCount(method, design, model, formats),
      formats: formats, quantizer: quantizer.provenance,
      transforms: transforms == .none ? nil : transforms.description,
      branches: try Self.branches(request.branches, method))
    let file =
      request.output.map { URL(filePath: $0) }
      ?? OutputNames.beside(source.checkpoint, "sensitivity.json")
    if !request.remeasure, FileManager.default.fileExists(atPath: file.path) {
      let stored = try Self.readSensitivity(file)
      try Self.requireMatch(
        stored, model: model.identity, calibration: windows.calibration, options: options)
      progress.note("measure: reusing \(file.lastPathComponent)")
      return stored
    }
    let (changed, applied) = try chosen(
      transforms, source, windows, formats: formats, quantizer: quantizer,
      seed: request.seed)
    var table = try measured(
      changed, windows, calibration: request.calibration, design, options, journalFile: file)
    table.transforms = applied.isEmpty ? nil : applied
    try ArtifactOutput.write(table, to: file)
    return StoredSensitivity(
      table: table, file: file, sha256: try ArtifactFile.sha256(path: file.path))
  }

  /// Candidate side branches, ascending, or `nil` for none.
  private static func branches(
    _ branches: [SideBranch], _ method: MaskGuidedEstimation.Method
  ) throws(PipelineError) -> [SideBranch]? {
    guard !branches.isEmpty else { return nil }
    guard method == .salience else {
      throw PipelineError(
        .invalidInput,
        "Side branches are judged by what gradients say of rows, which the method "
          + "'\(method.rawValue)' does not use. Measure with '--method salience', or leave --branches out."
      )
    }
    return Set(branches).sorted()
  }

  /// Forward passes that a method takes.
  private static func passCount(
    _ method: MaskGuidedEstimation.Method, _ design: MaskDesign, _ model: Model,
    _ formats: [WeightFormat]
  ) -> Int {
    switch method {
    case .masks, .salience: design.passCount
    case .plainMasks: design.passCount - design.denseCount
    case .predictionDifference, .swap:
      OneAtATimeEstimation.passCount(
        operatorCount: model.operators.count, formats: formats,
        probesEveryFormat: method == .swap)
    }
  }

  /// The calibration tokens of a model.
  func calibrationWindows(
    _ source: ModelSource, _ path: String?, count: Int = Workbench.calibrationCount,
    placement: TokenWindows.Placement = .spread
  ) throws -> TokenWindows {
    if path == SelfCalibration.name {
      return try selfCalibration(source, windows: 0..<Self.calibrationCount)
    }
    let text = try TextSource(
      path: path, defaultName: "calibration.txt", folder: source.folder, option: "--calibration")
    return try windows(source, text, count: count, placement: placement)
  }

  /// Token windows as the model's objective needs them.
  func windows(
    _ source: ModelSource, _ text: TextSource, count: Int, length: Int = Self.calibrationWindow,
    placement: TokenWindows.Placement
  ) throws -> TokenWindows {
    let tokenizer = try source.tokenizer()
    let length = min(length, source.model.maximumTokens)
    do {
      switch source.model.objective {
      case .nextToken:
        return try TokenWindows.languageModel(
          name: text.name, text: text.text, tokenizer: tokenizer, count: count, length: length,
          placement: placement)
      case .sentenceEmbedding:
        return try TokenWindows.encoder(
          name: text.name, text: text.text, tokenizer: tokenizer,
          count: count.multipliedReportingOverflow(by: 8).overflow ? count : count * 8,
          length: min(length, 128), placement: placement.scaled(by: 8))
      }
    } catch {
      throw PipelineError(.invalidInput, error.description)
    }
  }

  private func measured(
    _ source: ModelSource, _ windows: TokenWindows, calibration: String?, _ design: MaskDesign,
    _ options: SensitivityTable.Options, journalFile file: URL
  ) throws -> SensitivityTable {
    let model = source.model
    let quantizer = try Self.quantizer(named: options.quantizer)
    let meter = LossMeter(model: model, windows: windows.windows, context: context)
    let statistics = try statistics(
      source, meter, windows, calibration: calibration, quantizer,
      gradientSeed: options.method == MaskGuidedEstimation.Method.salience.rawValue
        ? options.seed : nil)
    let journal = try PassJournal(
      file: URL(filePath: file.path + ".partial"),
      key: "\(model.identity.sha256) \(windows.sha256) \(options) \(context.kernels.instructionSet)"
    )
    if !journal.losses.isEmpty {
      progress.note("measure: going on after \(journal.losses.count) finished passes")
    }
    let variants = VariantStore(
      model: model, statistics: statistics.operators,
      quantizer: OperatorQuantizer(quantizer, pool: context.pool))
    let estimation: any SensitivityEstimation
    switch MaskGuidedEstimation.Method(rawValue: options.method) {
    case .swap, .predictionDifference:
      estimation = OneAtATimeEstimation(
        model: model, formats: options.formats,
        probesEveryFormat: options.method == MaskGuidedEstimation.Method.swap.rawValue,
        variants: variants, report: meter.report)
    case .plainMasks:
      estimation = PlainMaskEstimation(
        model: model, formats: options.formats, design: design, variants: variants,
        seed: options.seed, loss: meter.loss)
    case .masks, .salience, nil:
      let settled = SettledPlans(
        SensitivityTable(
          model: model.identity, metric: meter.metric, calibration: windows.calibration,
          options: options, activationCost: 0, rows: []))
      estimation = MaskGuidedEstimation(
        model: model, formats: options.formats, branches: options.branches ?? [], design: design,
        variants: variants, statistics: statistics.operators, gradients: statistics.gradients,
        // The whole text: what a token's row is worth is how often the token comes.
        tokenShares: try calibrationWindows(source, calibration, count: .max)
          .tokenShares(vocabularySize: model.vocabularySize),
        isSettled: settled.isSettled, loss: meter.loss)
    }
    FreedMemory.giveBack()
    progress.begin("measure", total: estimation.stepCount)
    let estimate = try estimation.run(tokens: windows.tokens, journal: journal) { done in
      try cancellation.check()
      progress.advance(done, of: estimation.stepCount)
    }
    let activationCost = max(0, try meter.loss(meter.withQuantizedActivations()))
    let keyValueCosts = try self.keyValueCosts(meter)
    let passesMade = estimate.passCount < options.passCount ? estimate.passCount : nil
    let passes =
      passesMade.map { "\($0) of \(options.passCount) passes, then plans stopped changing" }
      ?? "\(options.passCount) passes"
    progress.end(
      "\(passes), \(estimate.rows.count) operators × \(options.formats.count) formats")
    journal.remove()
    var table = SensitivityTable(
      model: model.identity, metric: meter.metric, calibration: windows.calibration,
      options: options, activationCost: activationCost, rows: estimate.rows)
    table.passesMade = passesMade
    table.keyValueCosts = keyValueCosts.isEmpty ? nil : keyValueCosts
    table.activationCosts = statistics.gradients.map { gradients in
      let predicted = ActivationSalience.costs(
        model, statistics.operators, gradients, pool: context.pool)
      let sum = predicted.reduce(0, +)
      // Gradients say how the cost is spread, the pass how much it is.
      return predicted.map { sum > 0 ? $0 / sum * activationCost : 0 }
    }
    return table
  }

  /// What KV caches of fewer bits lose with everything else in float.
  private func keyValueCosts(_ meter: LossMeter) throws -> [Plan.KeyValueCache] {
    guard meter.metric == .klDivergenceNatsPerToken else { return [] }
    defer { meter.keyValueFormat = .float }
    return try KeyValueFormat.allCases.filter { $0 != .float }.map { format in
      meter.keyValueFormat = format
      return Plan.KeyValueCache(format: format, loss: max(0, try meter.loss(meter.model)))
    }
  }

  /// What the calibration tokens tell, with progress.
  func statistics(
    _ source: ModelSource, _ meter: LossMeter, _ windows: TokenWindows, calibration: String?,
    _ quantizer: OperatorQuantizer.Method, gradientSeed: UInt64?
  ) throws -> CalibrationStatistics {
    let wide = try calibrationWindows(
      source, calibration, count: Self.wideCalibrationCount,
      placement: .wide(measured: Self.calibrationCount))
    var isFirst = true
    let statistics = try CalibrationStatistics.gather(
      meter, windows: windows.windows, wideWindows: wide.windows, quantizer: quantizer,
      gradientSeed: gradientSeed, context: context,
      begin: { stage in
        if !isFirst { progress.end("\(windows.tokens.count) calibration tokens") }
        isFirst = false
        FreedMemory.giveBack()
        progress.begin(stage, total: 1)
      },
      progress: { done, total in
        try cancellation.check()
        progress.advance(done, of: total)
      })
    progress.end(
      "\((quantizer.usesCurvature ? wide : windows).tokens.count) calibration tokens")
    kept.keep(statistics.operators, source.model, text: windows.sha256, quantizer)
    return statistics
  }

  /// Reads and checks a sensitivity file.
  static func readSensitivity(_ file: URL) throws(PipelineError) -> StoredSensitivity {
    guard FileManager.default.fileExists(atPath: file.path) else {
      throw PipelineError(
        .missingInput, "There is no sensitivity '\(file.path)'. Make one with 'plan measure'.")
    }
    do {
      let table = try ArtifactFile.read(
        SensitivityTable.self, path: file.path,
        supportedSchemaVersion: SensitivityTable.supportedSchemaVersion)
      try table.validate()
      FreedMemory.giveBack()
      return StoredSensitivity(
        table: table, file: file, sha256: try ArtifactFile.sha256(path: file.path))
    } catch let error as ArtifactError {
      throw PipelineError(.invalidInput, "\(file.lastPathComponent): \(error)")
    } catch {
      throw PipelineError(wrapping: error)
    }
  }

  /// Refuses a table of another model, calibration or set of options.
  static func requireMatch(
    _ stored: StoredSensitivity, model: ModelIdentity,
    calibration: SensitivityTable.Calibration?, options: SensitivityTable.Options?
  ) throws(PipelineError) {
    let name = stored.file.lastPathComponent
    let advice = "Measure again with --remeasure, or name another file."
    guard stored.table.model.sha256 == model.sha256 else {
      throw PipelineError(
        .stale, "'\(name)' was measured for other weights ('\(stored.table.model.name)'). \(advice)"
      )
    }
    if let calibration, stored.table.calibration != calibration {
      throw PipelineError(
        .stale,
        "'\(name)' was measured on other tokens ('\(stored.table.calibration.name)'). \(advice)")
    }
    if let options, !stored.table.options.covers(options) {
      throw PipelineError(.stale, "'\(name)' was measured with other options. \(advice)")
    }
  }
}

extension SensitivityTable.Options {
  /// Whether a table with these options serves where `wanted` was asked for: more formats and side
  /// branches are no harm.
  fileprivate func covers(_ wanted: SensitivityTable.Options) -> Bool {
    Set(formats).isSuperset(of: wanted.formats)
      && Set(branches ?? []).isSuperset(of: wanted.branches ?? [])
      && self
        == SensitivityTable.Options(
          method: wanted.method, seed: wanted.seed, passCount: wanted.passCount, formats: formats,
          quantizer: wanted.quantizer, transforms: wanted.transforms, branches: branches)
  }
}

/// Where results go when no name is given: the current folder, named after the model.
enum OutputNames {
  static func beside(_ checkpoint: Checkpoint, _ suffix: String) -> URL {
    URL(filePath: FileManager.default.currentDirectoryPath)
      .appending(path: "\(checkpoint.name).\(suffix)")
  }
}

/// A sensitivity in a few lines for people.
public enum SensitivitySummary {
  /// Where it is, and which operators matter most.
  public static func text(_ stored: StoredSensitivity) -> String {
    let table = stored.table
    let reference = table.options.formats.first { $0.bitWidth == 4 } ?? table.options.formats[0]
    let ranked = table.rows.compactMap { row -> (String, Double, Double)? in
      guard let entry = row.entries.first(where: { $0.format == reference }),
        let value = entry.value
      else { return nil }
      return (row.operatorDescription.name, value, entry.standardError ?? 0)
    }.sorted { $0.1 > $1.1 }
    let unit = table.metric == .klDivergenceNatsPerToken ? "nats/token" : "cosine distance"
    let lines = ranked.prefix(8).map { name, value, error in
      "  \(name.padding(toLength: 44, withPad: " ", startingAt: 0)) "
        + "\(Figures.significant(value)) ± \(Figures.significant(error, digits: 2))"
    }
    return """
      Sensitivity of \(table.model.name): \(table.rows.count) operators × \(table.options.formats.count) formats, \(table.passesMade ?? table.options.passCount) passes
      Most sensitive in \(reference), in \(unit):
      \(lines.joined(separator: "\n"))
      8-bit activations cost \(Figures.significant(table.activationCost)) \(unit)
      Written to \(stored.file.path)
      """
  }
}
