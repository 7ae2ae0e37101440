internal import BitplanCore
internal import BitplanEngine
internal import BitplanKernels
internal import BitplanQuantizers

/// What the gradients predict for every (operator, format), row by row.
///
/// `½ · E[g_r²] · E[(Δ_r · x)²]` for output feature `r` with the quantizer's own error `Δ_r`: the
/// Fisher information's quadratic form with gradient and input taken as independent, which is the KL
/// divergence to second order (MixLLM's salience, Eq. 4, with sampled labels and without its
/// first-order term, whose mean they make zero).
struct SaliencePrior {
  let model: Model
  let variants: VariantStore
  let statistics: [OperatorStatistics]
  let gradients: GradientStatistics

  /// Predicted loss of every output feature of a product in `format`.
  func rowLosses(_ index: Int, _ format: WeightFormat) -> [Double] {
    let errors = OutputError.meanSquared(
      original: model.floatWeights(of: index),
      quantized: variants.variant(index, format).dequantized(),
      samples: statistics[index].samples)
    return zip(gradients.meanSquares[index], errors).map { 0.5 * gradients.tokensPerUnit * $0 * $1 }
  }

  /// Predicted loss of a table that is only looked up, on the rows that `tokens` look up.
  func lookUpLoss(_ index: Int, _ format: WeightFormat, tokens: [Int]) -> Double {
    let errors = variants.meanSquaredLookUpError(index, format, tokens: tokens)
    return zip(gradients.meanSquares[index], errors.byColumn).reduce(0) {
      $0 + 0.5 * gradients.tokensPerUnit * $1.0 * $1.1
    }
  }
}
