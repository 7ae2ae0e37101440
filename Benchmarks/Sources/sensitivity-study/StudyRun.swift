import BitplanCheckpoint
import BitplanCore
import BitplanEngine
import BitplanKernels
import BitplanPipeline
import BitplanQuantizers
import BitplanSensitivity
import Foundation
import StudySupport

/// The study's steps.
final class StudyRun {
  private let study: SensitivityStudy
  private let model: Model
  private let context: KernelContext
  private let held: LossMeter
  private let real: StudyText
  private let own: StudyText
  private var kept: Kept
  private let work: URL

  init(_ study: SensitivityStudy) throws {
    self.study = study
    let opened = try StudyModel(path: study.path)
    let (model, context) = (opened.model, opened.context)
    (self.model, self.context) = (model, context)
    held = try opened.heldOutMeter(opened.heldOut(study.windowCount).windows)
    real = try StudyText(
      model, windows: opened.calibration(8, .spread),
      wide: opened.calibration(32, .wide(measured: 8)),
      whole: opened.calibration(.max, .spread), context: context)
    let written = try StudyText.written(by: model, count: 8, context: context)
    own = try StudyText(model, windows: written, wide: written, whole: written, context: context)
    work = URL(filePath: study.work)
    try FileManager.default.createDirectory(at: work, withIntermediateDirectories: true)
    kept = Kept(work.appending(path: "kept.json"))
  }

  /// Pairs of groups together and apart, on held-out text.
  func interactions(_ formats: [WeightFormat]) throws -> [InteractionStudy.Pair] {
    try InteractionStudy(model: model, text: real, loss: held.loss).run(formats) {
      FileHandle.standardError.write(Data("\($0)\n".utf8))
    }
  }

  func run() throws -> StudyReport {
    var report = StudyReport(study: study)
    var tables: [String: SensitivityTable] = [:]
    for method in study.methods {
      let text = method == "self" ? own : real
      // Quantizing is the same for all methods: the codes are there before the clock starts.
      for index in model.operators.indices {
        for format in study.formats { _ = text.variants.variant(index, format) }
      }
      let begin = ProcessorTime.now
      let rows = try rows(method, text)
      var seconds = ProcessorTime.now - begin
      seconds = try kept.value("seconds \(method)") { seconds }
      let cost = try kept.value("activations \(text.windows.name)") {
        try text.meter.loss(text.meter.withQuantizedActivations())
      }
      report.seconds[method] =
        seconds + (method == "salience" || method == "self" ? text.seconds : 0)
      let table = SensitivityTable(
        model: model.identity, metric: .klDivergenceNatsPerToken,
        calibration: text.windows.calibration,
        options: SensitivityTable.Options(
          method: method == "self" ? "salience" : method, seed: 1, passCount: 1,
          formats: study.formats, quantizer: ErrorFeedback.name),
        activationCost: max(0, cost), rows: rows)
      tables[method] = table
      if method == "salience" {
        report.random = try (0..<study.randomCount).map { try random(UInt64($0), table) }
      }
      for budget in study.budgets {
        report.plans[method, default: []].append(
          try planned(method, table, text, budget, .layer))
        if rows.allSatisfy({ $0.bands != nil }) {
          report.featurePlans[method, default: []].append(
            try planned(method, table, text, budget, .feature))
        }
      }
    }
    for (method, table) in tables {
      report.correlation[method] = Ranks.spearman(
        pairs(tables["swap"], table).map(\.0), pairs(tables["swap"], table).map(\.1))
    }
    return report
  }

  /// Losses of single choices in two tables.
  private func pairs(
    _ truth: SensitivityTable?, _ table: SensitivityTable
  ) -> [(Double, Double)] {
    guard let truth else { return [] }
    return zip(truth.rows, table.rows).flatMap { a, b in
      zip(a.entries, b.entries).compactMap { a, b in
        a.value.flatMap { a in b.value.map { (a, $0) } }
      }
    }
  }

  private func rows(_ method: String, _ text: StudyText) throws -> [SensitivityTable.Row] {
    let formats = study.formats
    let journal = try PassJournal(
      file: work.appending(path: "\(method).passes"), key: "\(model.identity.sha256) \(formats)")
    let salience = method == "salience" || method == "self"
    let design = MaskDesign(
      operatorCount: model.operators.count, formats: formats, seed: 1, hasGradients: salience)
    let estimation: any SensitivityEstimation
    switch method {
    case "swap", "pd-quant":
      estimation = OneAtATimeEstimation(
        model: model, formats: formats, probesEveryFormat: true, variants: text.variants,
        report: text.meter.report)
    case "plain-masks":
      estimation = PlainMaskEstimation(
        model: model, formats: formats, design: design, variants: text.variants, seed: 1,
        loss: text.meter.loss)
    default:
      estimation = MaskGuidedEstimation(
        model: model, formats: formats, design: design, variants: text.variants,
        statistics: text.statistics.operators,
        gradients: salience ? text.statistics.gradients : nil, tokenShares: text.tokenShares,
        loss: text.meter.loss)
    }
    return try estimation.run(tokens: text.windows.tokens, journal: journal) { done in
      FileHandle.standardError.write(Data("\(method) \(done)/\(estimation.stepCount)\n".utf8))
    }.rows
  }

  private func planned(
    _ method: String, _ table: SensitivityTable, _ text: StudyText, _ budget: Double,
    _ granularity: Granularity
  ) throws -> StudyReport.Loss {
    var inputs = PlanSearch.Inputs(
      sensitivity: table, sensitivitySHA256: "", profile: nil, architectureSHA256: nil,
      budgets: [try Budget(parsing: "\(budget)bits")])
    inputs.granularity = granularity
    inputs.frontPoints = 0
    inputs.resampleCount = 0
    let plan = try PlanSearch.run(inputs).plan
    let measured = try kept.value("\(method) \(budget) \(granularity.rawValue)") {
      try executed(plan.operators, text)
    }
    return StudyReport.Loss(
      bits: plan.predicted.bitsPerWeight,
      predicted: plan.predicted.klDivergenceNatsPerToken ?? 0, measured: measured)
  }

  private func executed(_ operators: [Plan.Assignment], _ text: StudyText) throws -> Double {
    try held.loss(model.replacingAll(with: text.packed(model, operators, context)))
  }

  /// A plan that nobody searched for: a mean width drawn evenly from 2.5 to 6, and every operator at
  /// a width drawn within 1.5 of it, in a random format of that width.
  private func random(_ seed: UInt64, _ table: SensitivityTable) throws -> StudyReport.Loss {
    var generator = SeededGenerator(state: seed)
    let mean = Double.random(in: 2.5...6, using: &generator)
    let widths = Set(study.formats.map(\.bitWidth)).sorted()
    var (predicted, bytes) = (table.activationCost, 0)
    let operators = table.rows.map { row in
      let wanted = mean + Double.random(in: -1.5...1.5, using: &generator)
      let width = widths.min { abs(Double($0) - wanted) < abs(Double($1) - wanted) } ?? 4
      let entries = row.entries.filter { $0.format.bitWidth == width }
      let entry = entries.randomElement(using: &generator) ?? row.entries[0]
      let shape = row.operatorDescription.shape
      predicted += entry.value ?? 0
      bytes += entry.format.storedBytes(shape)
      return Plan.Assignment(
        name: row.operatorDescription.name, shape: shape,
        segments: [Plan.Segment(format: entry.format, rows: [0..<shape.outputFeatures])])
    }
    return StudyReport.Loss(
      bits: Double(bytes) * 8 / Double(model.identity.plannedWeightCount), predicted: predicted,
      measured: try kept.value("random \(seed)") { try executed(operators, real) })
  }
}

/// Rank correlation.
enum Ranks {
  /// Spearman's coefficient: Pearson's of the ranks, ties sharing their mean.
  static func spearman(_ a: [Double], _ b: [Double]) -> Double? {
    guard a.count > 2 else { return nil }
    let (a, b) = (ranks(a), ranks(b))
    let mean = Double(a.count + 1) / 2
    let covariance = zip(a, b).reduce(0) { $0 + ($1.0 - mean) * ($1.1 - mean) }
    let spread = [a, b].map { $0.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } }
    return covariance / (spread[0] * spread[1]).squareRoot()
  }

  private static func ranks(_ values: [Double]) -> [Double] {
    let order = values.indices.sorted { values[$0] < values[$1] }
    var result = [Double](repeating: 0, count: values.count)
    var begin = 0
    while begin < order.count {
      var end = begin
      while end + 1 < order.count, values[order[end + 1]] == values[order[begin]] { end += 1 }
      for place in begin...end { result[order[place]] = Double(begin + end) / 2 + 1 }
      begin = end + 1
    }
    return result
  }
}
