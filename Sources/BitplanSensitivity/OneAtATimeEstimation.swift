public import BitplanCore
public import BitplanEngine

/// One operator quantized at a time, the rest in float, and the loss of the whole model measured.
///
/// With every format this is the truth that other methods are held against, one pass for each
/// (operator, format). PD-Quant's prediction difference (the KL divergence of the final output with
/// one part quantized) is the same measurement; here it probes one format a bit width, and the other
/// formats of the width follow by their relative output error.
public struct OneAtATimeEstimation: SensitivityEstimation {
  private let model: Model
  private let formats: [WeightFormat]
  /// Places of the formats that are executed.
  private let probes: [Int]
  private let variants: VariantStore
  private let report: (Model) throws -> LossMeter.Report

  /// - Parameters:
  ///   - probesEveryFormat: whether every format is executed, or one for each bit width.
  ///   - report: the metric of a model on the calibration tokens.
  public init(
    model: Model, formats: [WeightFormat], probesEveryFormat: Bool, variants: VariantStore,
    report: @escaping (Model) throws -> LossMeter.Report
  ) {
    self.model = model
    self.formats = formats
    self.variants = variants
    self.report = report
    probes = Self.probes(formats, probesEveryFormat: probesEveryFormat)
  }

  /// Places of the formats that are executed: all, or the one with the fewest bytes of each width.
  static func probes(_ formats: [WeightFormat], probesEveryFormat: Bool) -> [Int] {
    if probesEveryFormat { return Array(formats.indices) }
    let shape = MatrixShape(outputFeatures: 1024, inputFeatures: 1024)
    return Set(formats.map(\.bitWidth)).sorted().compactMap { width in
      formats.indices.filter { formats[$0].bitWidth == width }.min {
        formats[$0].storedBytes(shape) < formats[$1].storedBytes(shape)
      }
    }
  }

  /// Forward passes for a model of so many operators.
  public static func passCount(
    operatorCount: Int, formats: [WeightFormat], probesEveryFormat: Bool
  ) -> Int {
    operatorCount * probes(formats, probesEveryFormat: probesEveryFormat).count
  }

  public var stepCount: Int { model.operators.count * probes.count }

  public func run(
    tokens: [Int], journal: PassJournal?, progress: (Int) throws -> Void
  ) throws -> SensitivityEstimate {
    let rows = try model.operators.indices.map { index in
      let errors = formats.map {
        max(variants.relativeOutputError(index, $0, tokens: tokens), 1e-14)
      }
      var measured: [Int: (mean: Double, error: Double)] = [:]
      for (place, probe) in probes.enumerated() {
        let pass = index * probes.count + place
        try progress(pass)
        measured[probe] = try loss(index, formats[probe], pass, journal)
      }
      let entries = formats.indices.map { position in
        let probe = measured[position] != nil ? position : self.probe(for: position)
        let scale = errors[position] / errors[probe]
        let (mean, error) = measured[probe] ?? (0, 0)
        return SensitivityTable.Entry(
          format: formats[position], value: mean * scale, standardError: error * scale,
          relativeOutputError: errors[position])
      }
      return SensitivityTable.Row(
        operatorDescription: model.operators[index], entries: entries)
    }
    return SensitivityEstimate(rows: rows, passCount: stepCount)
  }

  /// The executed format of the same width.
  private func probe(for position: Int) -> Int {
    probes.first { formats[$0].bitWidth == formats[position].bitWidth } ?? position
  }

  /// Mean and standard error of a pass; the journal keeps both, under two numbers.
  private func loss(
    _ index: Int, _ format: WeightFormat, _ pass: Int, _ journal: PassJournal?
  ) throws -> (Double, Double) {
    if let mean = journal?.losses[2 * pass], let error = journal?.losses[2 * pass + 1] {
      return (mean, error)
    }
    let report = try report(
      model.replacing(index, with: .packed(variants.variant(index, format))))
    let mean = max(0, report.mean)
    try journal?.record(2 * pass, loss: mean)
    try journal?.record(2 * pass + 1, loss: report.standardError)
    return (mean, report.standardError)
  }
}
