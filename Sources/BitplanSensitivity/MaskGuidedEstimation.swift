public import BitplanCore
public import BitplanEngine
internal import BitplanKernels
internal import Foundation

/// Mask-guided estimation (OHQ) with the salience of output features (MixLLM) as its prior.
///
/// In each pass a random mask chooses which operators are quantized and how; a regression over the
/// passes gives each operator's share of the loss and its standard error. Masks are laid out by
/// ``MaskDesign``. The prior says how the loss is spread over formats and rows: from gradients where
/// they are given, else from the operator's own activation-weighted output error.
public struct MaskGuidedEstimation {
  /// The method's stable name in artifacts.
  public enum Method: String, Sendable, CaseIterable {
    /// Forward passes only.
    case masks
    /// Gradients give the prior, masked passes correct it.
    case salience
    /// OHQ's masks as published: weights set to zero.
    case plainMasks = "plain-masks"
    /// PD-Quant's prediction difference: one operator at a time, one format a bit width.
    case predictionDifference = "pd-quant"
    /// One operator at a time in every format: the truth for single choices.
    case swap
  }

  private let model: Model
  private let formats: [WeightFormat]
  private let branches: [SideBranch]
  private let design: MaskDesign
  private let variants: VariantStore
  private let salience: SaliencePrior?
  /// Loss of a model on the calibration tokens.
  private let loss: (Model) throws -> Double
  private let isSettled: (([SensitivityTable.Row]) throws -> Bool)?

  /// Passes before the first look at whether more are needed, and between two looks.
  private static let (firstLook, lookInterval) = (8, 4)

  /// - Parameters:
  ///   - branches: candidate side branches, for ``Method/salience``.
  ///   - gradients: squared output gradients, for ``Method/salience``.
  ///   - tokenShares: how often each id occurs, `[vocabulary]`, for ``Method/salience``.
  ///   - loss: the metric of a model on the calibration tokens.
  ///   - isSettled: given the estimate so far every few passes: whether more of them would change
  ///     nothing that matters. Without it all passes of the design are made.
  public init(
    model: Model, formats: [WeightFormat], branches: [SideBranch] = [], design: MaskDesign,
    variants: VariantStore, statistics: [OperatorStatistics], gradients: GradientStatistics?,
    tokenShares: [Double], isSettled: (([SensitivityTable.Row]) throws -> Bool)? = nil,
    loss: @escaping (Model) throws -> Double
  ) {
    self.model = model
    self.formats = formats
    self.branches = branches
    self.design = design
    self.variants = variants
    salience = gradients.map {
      SaliencePrior(
        model: model, statistics: statistics, gradients: $0, tokenShares: tokenShares,
        pool: variants.pool)
    }
    self.isSettled = isSettled
    self.loss = loss
  }

  /// Steps that ``run(tokens:journal:progress:)`` reports.
  public var stepCount: Int { model.operators.count + design.passCount }

  /// What is known of an operator before any masked pass.
  private struct Prior {
    /// One loss a format, in any unit that is the same for all operators.
    var losses: [Double]
    var relativeOutputErrors: [Double]
    var bands: SensitivityTable.Bands?
    var branches: [SensitivityTable.Branched] = []
  }

  /// One row an operator, and the masked passes that it took.
  ///
  /// - Parameters:
  ///   - tokens: calibration ids, for the prior of tables that are only looked up.
  ///   - journal: where finished passes are kept.
  ///   - progress: called with the steps done; may throw to stop.
  public func run(
    tokens: [Int], journal: PassJournal?, progress: (Int) throws -> Void
  ) throws -> SensitivityEstimate {
    let widths = Array(Set(formats.map(\.bitWidth))).sorted()
    var priors: [Prior] = []
    for index in model.operators.indices {
      try progress(index)
      priors.append(try prior(index, tokens) { try progress(index) })
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
            index: position, prior: priors[position].losses[$0],
            width: widths.firstIndex(of: formats[$0].bitWidth) ?? 0
          )
        }
      }
      passes.append(MaskRegression.Pass(terms: terms, loss: value))
      if let isSettled, passes.count >= Self.firstLook,
        (passes.count - Self.firstLook).isMultiple(of: Self.lookInterval),
        try isSettled(rows(priors, passes, widths))
      {
        break
      }
    }
    return SensitivityEstimate(
      rows: rows(priors, passes, widths), passCount: passes.count)
  }

  /// - Parameter step: called now and then; may throw to stop.
  private func prior(
    _ index: Int, _ tokens: [Int], step: () throws -> Void
  ) rethrows -> Prior {
    func relativeError(_ format: WeightFormat) -> Double {
      max(variants.relativeOutputError(index, format, tokens: tokens), 1e-14)
    }
    guard let salience else {
      let errors = formats.map(relativeError)
      return Prior(losses: errors, relativeOutputErrors: errors)
    }
    let signal = salience.signal(index)
    var (rows, errors): ([[Double]], [Double]) = ([], [])
    for format in formats {
      let losses = salience.losses(
        index, quantized: variants.variant(index, format).dequantized(),
        activationGroupSize: format.activationGroupSize)
      rows.append(losses.rows)
      if let signal, let error = losses.squaredError {
        errors.append(max(signal > 0 ? error / signal : 0, 1e-14))
      } else {
        errors.append(relativeError(format))
      }
    }
    let bands = bands(rows)
    return Prior(
      losses: rows.map { max($0.reduce(0, +), 1e-18) }, relativeOutputErrors: errors,
      bands: bands, branches: try branched(index, salience, bands, step))
  }

  /// Losses beside each side branch that fits the operator. A table that rows are looked up in takes
  /// none: a row would need the whole branch.
  private func branched(
    _ index: Int, _ salience: SaliencePrior, _ bands: SensitivityTable.Bands,
    _ step: () throws -> Void
  ) rethrows -> [SensitivityTable.Branched] {
    let description = model.operators[index]
    guard description.role == .linear || description.role == .head else { return [] }
    return try branches.filter { $0.fits(description.shape) }.map { branch in
      try step()
      return SensitivityTable.Branched(
        branch: branch,
        losses: formats.map { format in
          sums(
            salience.losses(
              index, quantized: variants.restored(index, format, beside: branch),
              activationGroupSize: format.activationGroupSize
            ).rows, bands.rowOrder, bands.height)
        })
    }
  }

  /// Ranks rows by their loss at a low width and adds losses up by bands.
  private func bands(_ rowLosses: [[Double]]) -> SensitivityTable.Bands {
    let reference = formats.firstIndex { $0.bitWidth == 3 } ?? 0
    let ranking = rowLosses[reference]
    let order = ranking.indices.sorted {
      ranking[$0] != ranking[$1] ? ranking[$0] > ranking[$1] : $0 < $1
    }
    let height = SensitivityTable.Bands.height(rows: order.count)
    return SensitivityTable.Bands(
      height: height, rowOrder: order, losses: rowLosses.map { sums($0, order, height) })
  }

  /// Losses of rows added up by bands.
  private func sums(_ losses: [Double], _ order: [Int], _ height: Int) -> [Double] {
    stride(from: 0, to: order.count, by: height).map { begin in
      order[begin..<min(begin + height, order.count)].reduce(0) { $0 + losses[$1] }
    }
  }

  private func masked(_ mask: Mask) -> Model {
    var masked = model
    for (index, format) in mask.formatIndices.enumerated() {
      guard let format else { continue }
      masked = masked.replacing(index, with: .packed(variants.variant(index, formats[format])))
    }
    return masked
  }

  /// Five significant digits: more would be noise, and the file holds many of these.
  private static func rounded(_ value: Double) -> Double {
    guard value > 0, value.isFinite else { return max(0, value) }
    let unit = pow(10, (log10(value).rounded(.down)) - 4)
    return (value / unit).rounded() * unit
  }

  private func rows(
    _ priors: [Prior], _ passes: [MaskRegression.Pass], _ widths: [Int]
  ) -> [SensitivityTable.Row] {
    let estimate = MaskRegression.fit(
      passes, priorShares: [Double](repeating: 1, count: priors.count),
      priorSpread: salience == nil ? 1.5 : 0.25, followsData: salience == nil,
      widthCount: widths.count)
    // A width that no pass had is judged as the nearest that one had, of two the wider.
    let seen = Set(passes.flatMap { $0.terms.map { widths[$0.width] } })
    let widthFactors = formats.map { format in
      let nearest = seen.min {
        (abs($0 - format.bitWidth), -$0) < (abs($1 - format.bitWidth), -$1)
      }
      return nearest.flatMap(widths.firstIndex).map { estimate.widthFactors[$0] } ?? 1
    }
    return model.operators.indices.map { index in
      let factors = widthFactors.map { estimate.shares[index] * $0 }
      let relativeError = estimate.standardErrors[index] / max(estimate.shares[index], 1e-300)
      let entries = formats.indices.map { position in
        let value = priors[index].losses[position] * factors[position]
        return SensitivityTable.Entry(
          format: formats[position], value: value, standardError: value * relativeError,
          relativeOutputError: priors[index].relativeOutputErrors[position])
      }
      func scaled(_ losses: [[Double]]) -> [[Double]] {
        zip(losses, factors).map { losses, factor in losses.map { Self.rounded($0 * factor) } }
      }
      let bands = priors[index].bands.map { bands in
        SensitivityTable.Bands(
          height: bands.height, rowOrder: bands.rowOrder, losses: scaled(bands.losses))
      }
      // What a branch leaves is judged as the codes alone are: no pass was made with it.
      let branched = priors[index].branches.map {
        SensitivityTable.Branched(branch: $0.branch, losses: scaled($0.losses))
      }
      return SensitivityTable.Row(
        operatorDescription: model.operators[index], entries: entries, bands: bands,
        branches: branched.isEmpty ? nil : branched)
    }
  }
}
