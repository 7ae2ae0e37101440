public import BitplanCore
public import BitplanEngine

/// Mask-guided estimation (OHQ): forward passes only.
///
/// In each pass a random mask chooses which operators are quantized and how; a regression over the
/// passes gives each operator's share of the loss and its standard error, with the operator's own
/// activation-weighted output error as the prior. Masks are laid out by ``MaskDesign``.
public struct MaskGuidedEstimation {
  /// The method's stable name in artifacts.
  public static let name = "mask-guided"

  private let model: Model
  private let formats: [WeightFormat]
  private let design: MaskDesign
  private let variants: VariantStore
  /// Loss of a model on the calibration tokens.
  private let loss: (Model) throws -> Double

  /// - Parameter loss: the metric of a model on the calibration tokens.
  public init(
    model: Model, formats: [WeightFormat], design: MaskDesign, variants: VariantStore,
    loss: @escaping (Model) throws -> Double
  ) {
    self.model = model
    self.formats = formats
    self.design = design
    self.variants = variants
    self.loss = loss
  }

  /// Steps that ``run(tokens:journal:progress:)`` reports.
  public var stepCount: Int { model.operators.count + design.passCount }

  /// One row an operator.
  ///
  /// - Parameters:
  ///   - tokens: calibration ids, for the prior of tables that are only looked up.
  ///   - journal: where finished passes are kept.
  ///   - progress: called with the steps done; may throw to stop.
  public func run(
    tokens: [Int], journal: PassJournal?, progress: (Int) throws -> Void
  ) throws -> [SensitivityTable.Row] {
    let widths = Array(Set(formats.map(\.bitWidth))).sorted()
    var priors: [[Double]] = []
    for index in model.operators.indices {
      try progress(index)
      priors.append(
        formats.map { max(variants.relativeOutputError(index, $0, tokens: tokens), 1e-14) })
    }
    var passes: [MaskRegression.Pass] = []
    for index in 0..<design.passCount {
      try progress(model.operators.count + index)
      let mask = design.mask(index)
      let value: Double
      if let known = journal?.losses[index] {
        value = known
      } else {
        value = try loss(masked(mask))
        try journal?.record(index, loss: value)
      }
      let terms = mask.formatIndices.enumerated().compactMap { position, format in
        format.map {
          (
            index: position, prior: priors[position][$0],
            width: widths.firstIndex(of: formats[$0].bitWidth) ?? 0
          )
        }
      }
      passes.append(MaskRegression.Pass(terms: terms, loss: value))
    }
    return rows(priors, passes, widths)
  }

  private func masked(_ mask: Mask) -> Model {
    var masked = model
    for (index, format) in mask.formatIndices.enumerated() {
      guard let format else { continue }
      masked = masked.replacing(index, with: .packed(variants.variant(index, formats[format])))
    }
    return masked
  }

  private func rows(
    _ priors: [[Double]], _ passes: [MaskRegression.Pass], _ widths: [Int]
  ) -> [SensitivityTable.Row] {
    let estimate = MaskRegression.fit(
      passes, priorShares: [Double](repeating: 1, count: priors.count), priorSpread: 1.5,
      widthCount: widths.count)
    return model.operators.indices.map { index in
      let entries = formats.indices.map { position in
        let width = widths.firstIndex(of: formats[position].bitWidth) ?? 0
        let unit = priors[index][position] * estimate.widthFactors[width]
        return SensitivityTable.Entry(
          format: formats[position], value: estimate.shares[index] * unit,
          standardError: estimate.standardErrors[index] * unit,
          relativeOutputError: priors[index][position])
      }
      return SensitivityTable.Row(
        operatorDescription: model.operators[index], entries: entries)
    }
  }
}
