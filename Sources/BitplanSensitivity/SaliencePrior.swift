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

  /// How often each id occurs, `[vocabulary]`, adding up to 1; no share is 0.
  let tokenShares: [Double]

  /// Predicted loss of every row in `format`.
  func rowLosses(_ index: Int, _ format: WeightFormat) -> [Double] {
    switch model.operators[index].role {
    case .linear: return productLosses(index, format)
    case .head: return headLosses(index, format)
    case .embedding: return lookUpLosses(index, format)
    case .tiedEmbedding:
      return zip(headLosses(index, format), lookUpLosses(index, format)).map { $0 + $1 }
    }
  }

  private func productLosses(_ index: Int, _ format: WeightFormat) -> [Double] {
    let original = model.floatWeights(of: index)
    let quantized = variants.variant(index, format).dequantized()
    let errors =
      statistics[index].input.curvature.map {
        $0.meanSquaredErrors(original: original, quantized: quantized)
      }
      ?? OutputError.meanSquared(
        original: original, quantized: quantized, samples: statistics[index].samples)
    return zip(gradients.meanSquares[index], errors).map { 0.5 * gradients.tokensPerUnit * $0 * $1 }
  }

  /// Rows of the head: what an error `d` of one logit costs, without the quadratic approximation.
  ///
  /// Moving logit `r` alone by `d` changes the distribution by `log(1 + p_r (eᵈ − 1)) − p_r d`,
  /// which is at most `p_r (eᵈ − 1 − d)`; with several logits moved the bounds still add up. Rows of
  /// rare tokens have next to no gradient, yet at two bits their logits err by whole units, where
  /// only this form sees it. Tokens that the samples do not expect count with their share of the text.
  private func headLosses(_ index: Int, _ format: WeightFormat) -> [Double] {
    let costs = OutputError.logitCosts(
      original: model.floatWeights(of: index),
      quantized: variants.variant(index, format).dequantized(), samples: statistics[index].samples)
    return zip(costs, tokenShares).map { max($0.expected, $1 * $0.unconditional) }
  }

  /// Rows of a table that is looked up: as often as their token occurs.
  private func lookUpLosses(_ index: Int, _ format: WeightFormat) -> [Double] {
    let original = model.floatWeights(of: index)
    let columns = original.columns
    let quantized = variants.variant(index, format).dequantized()
    let squares = gradients.meanSquares[index]
    guard squares.count == columns else { return [Double](repeating: 0, count: original.rows) }
    return original.withUnsafeBufferPointer { w in
      quantized.withUnsafeBufferPointer { q in
        (0..<original.rows).map { row in
          var sum = 0.0
          for column in 0..<columns {
            let difference = Double(q[row * columns + column]) - Double(w[row * columns + column])
            sum += squares[column] * difference * difference
          }
          return 0.5 * gradients.tokensPerUnit * tokenShares[row] * sum
        }
      }
    }
  }
}
