internal import BitplanCheckpoint
public import BitplanCore
internal import BitplanEngine
internal import BitplanKernels
internal import BitplanQuantizers
internal import BitplanSensitivity
public import Foundation

/// What `plan measure` is asked.
public struct MeasureRequest: Sendable {
  /// Text to measure on; `calibration.txt` beside the model by default.
  public var calibration: String?
  /// Candidate formats; all by default.
  public var formats: [WeightFormat]?
  /// Seed of every random choice.
  public var seed: UInt64 = 1
  /// Name of the estimation method: `salience` or `masks`.
  public var method = "salience"
  /// Where the sensitivity goes; `MODEL.sensitivity.json` in the current folder by default.
  public var output: String?
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
    // Gradients already tell operators apart; masked passes only correct them.
    let design = MaskDesign(
      operatorCount: model.operators.count, formats: formats, seed: request.seed,
      maskSize: max(1, model.operators.count / 14), partitionCount: method == .salience ? 3 : 8,
      denseCount: 16)
    let options = SensitivityTable.Options(
      method: method.rawValue, seed: request.seed, passCount: design.passCount,
      formats: formats, quantizer: RoundToNearest.name)
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
    let table = try measured(source, windows, design, options, journalFile: file)
    try ArtifactOutput.write(table, to: file)
    return try Self.readSensitivity(file)
  }

  /// The calibration tokens of a model.
  func calibrationWindows(_ source: ModelSource, _ path: String?) throws -> TokenWindows {
    let text = try TextSource(
      path: path, defaultName: "calibration.txt", folder: source.folder, option: "--calibration")
    return try windows(source, text, count: Self.calibrationCount, placement: .spread)
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
          name: text.name, text: text.text, tokenizer: tokenizer, count: count * 8,
          length: min(length, 128))
      }
    } catch {
      throw PipelineError(.invalidInput, error.description)
    }
  }

  private func measured(
    _ source: ModelSource, _ windows: TokenWindows, _ design: MaskDesign,
    _ options: SensitivityTable.Options, journalFile file: URL
  ) throws -> SensitivityTable {
    let model = source.model
    progress.begin("statistics", total: windows.windows.count)
    let meter = LossMeter(model: model, windows: windows.windows, context: context)
    let statistics = try meter.prepare { done in
      try cancellation.check()
      progress.advance(done, of: windows.windows.count)
    }
    progress.end("\(windows.tokens.count) calibration tokens")
    let journal = try PassJournal(
      file: URL(filePath: file.path + ".partial"),
      key: "\(model.identity.sha256) \(windows.sha256) \(options) \(context.kernels.instructionSet)"
    )
    if !journal.losses.isEmpty {
      progress.note("measure: going on after \(journal.losses.count) finished passes")
    }
    let gradients =
      options.method == MaskGuidedEstimation.Method.salience.rawValue
      ? try gradientStatistics(model, windows, seed: options.seed) : nil
    let estimation = MaskGuidedEstimation(
      model: model, formats: options.formats, design: design,
      variants: VariantStore(model: model, statistics: statistics, pool: context.pool),
      statistics: statistics, gradients: gradients, loss: meter.loss)
    progress.begin("measure", total: estimation.stepCount)
    let rows = try estimation.run(tokens: windows.tokens, journal: journal) { done in
      try cancellation.check()
      progress.advance(done, of: estimation.stepCount)
    }
    let activationCost = try meter.loss(meter.withQuantizedActivations())
    progress.end(
      "\(design.passCount) passes, \(rows.count) operators × \(options.formats.count) formats")
    journal.remove()
    return SensitivityTable(
      model: model.identity, metric: meter.metric, calibration: windows.calibration,
      options: options, activationCost: max(0, activationCost), rows: rows)
  }

  private func gradientStatistics(
    _ model: Model, _ windows: TokenWindows, seed: UInt64
  ) throws -> GradientStatistics {
    progress.begin("gradients", total: windows.windows.count)
    let gradients = try GradientStatistics.gather(
      model: model, windows: windows.windows, seed: seed, context: context
    ) { done in
      try cancellation.check()
      progress.advance(done, of: windows.windows.count)
    }
    progress.end("\(windows.windows.count) backward passes")
    return gradients
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
    if let options, stored.table.options != options {
      throw PipelineError(.stale, "'\(name)' was measured with other options. \(advice)")
    }
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
      Sensitivity of \(table.model.name): \(table.rows.count) operators × \(table.options.formats.count) formats, \(table.options.passCount) passes
      Most sensitive in \(reference), in \(unit):
      \(lines.joined(separator: "\n"))
      8-bit activations cost \(Figures.significant(table.activationCost)) \(unit)
      Written to \(stored.file.path)
      """
  }
}
