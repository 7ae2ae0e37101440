internal import BitplanCore
public import BitplanEngine
public import BitplanKernels
internal import BitplanQuantizers

/// What the gradients predict for every (operator, format), row by row.
///
/// `½ · E[g_r²] · E[(Δ_r · x)²]` for output feature `r` with the quantizer's own error `Δ_r`: the
/// Fisher information's quadratic form with gradient and input taken as independent, which is the KL
/// divergence to second order (MixLLM's salience, Eq. 4, with sampled labels and without its
/// first-order term, whose mean they make zero).
public struct SaliencePrior {
  private let model: Model
  private let statistics: [OperatorStatistics]
  private let gradients: GradientStatistics
  /// How often each id occurs, `[vocabulary]`, adding up to 1; no share is 0.
  private let tokenShares: [Double]
  private let pool: ThreadPool

  /// Group size of the activations that every plan's ground cost is measured with.
  private static let activationGroup = 128

  /// Makes a prior.
  ///
  /// - Parameters:
  ///   - tokenShares: how often each id occurs, `[vocabulary]`, adding up to 1; no share is 0.
  ///   - pool: threads that share an operator's rows.
  public init(
    model: Model, statistics: [OperatorStatistics], gradients: GradientStatistics,
    tokenShares: [Double], pool: ThreadPool
  ) {
    self.model = model
    self.statistics = statistics
    self.gradients = gradients
    self.tokenShares = tokenShares
    self.pool = pool
  }

  /// Mean square of an operator's outputs, summed over them: what an error is relative to.
  /// `nil` for a table that is only looked up.
  func signal(_ index: Int) -> Double? {
    guard model.operators[index].role == .linear else { return nil }
    let weights = model.floatWeights(of: index)
    let squares =
      statistics[index].input.curvature?.meanSquaredOutputs(of: weights, pool: pool)
      ?? OutputError.meanSquaredOutput(weights, samples: statistics[index].samples, pool: pool)
    return squares.reduce(0, +)
  }

  /// What an operator in one format costs.
  struct Losses {
    /// Predicted loss of every row, in the metric's unit.
    let rows: [Double]
    /// Mean squared error of the operator's outputs, summed over them, where it came out on the way.
    let squaredError: Double?
  }

  /// Predicted loss if `quantized` took the operator's place.
  ///
  /// - Parameters:
  ///   - quantized: dequantized weights, `[outputFeatures, inputFeatures]`.
  ///   - activationGroupSize: input features that share an activation scale. Where a whole token
  ///     shares one, what that loses beyond groups of 128 is part of the rows' losses.
  func losses(_ index: Int, quantized: FloatMatrix, activationGroupSize: Int) -> Losses {
    let rows: [Double]
    var squaredError: Double?
    switch model.operators[index].role {
    case .linear:
      let errors = outputErrors(index, quantized)
      squaredError = errors.reduce(0, +)
      rows = zip(gradients.meanSquares[index], errors).map {
        0.5 * gradients.tokensPerUnit * $0 * $1
      }
    case .head: rows = headLosses(index, quantized)
    case .embedding: rows = lookUpLosses(index, quantized)
    case .tiedEmbedding:
      rows = sum(headLosses(index, quantized), lookUpLosses(index, quantized))
    }
    return Losses(
      rows: sum(rows, activationLosses(index, activationGroupSize)), squaredError: squaredError)
  }

  private func sum(_ a: [Double], _ b: [Double]) -> [Double] { zip(a, b).map { $0 + $1 } }

  private func outputErrors(_ index: Int, _ quantized: FloatMatrix) -> [Double] {
    let original = model.floatWeights(of: index)
    return statistics[index].input.curvature?.meanSquaredErrors(
      original: original, quantized: quantized, pool: pool)
      ?? OutputError.meanSquared(
        original: original, quantized: quantized, samples: statistics[index].samples, pool: pool)
  }

  /// What one activation scale a token costs every row beyond a scale for every 128 features: the
  /// same quadratic form on the activations' own rounding errors.
  private func activationLosses(_ index: Int, _ groupSize: Int) -> [Double] {
    let weights = model.floatWeights(of: index)
    guard model.operators[index].isMultiplied, groupSize == WeightFormat.wholeToken else {
      return [Double](repeating: 0, count: weights.rows)
    }
    func errors(_ size: Int) -> [Double] {
      OutputError.meanSquaredOutput(
        weights,
        samples: ActivationSalience.roundingErrors(statistics[index].samples, groupSize: size),
        pool: pool)
    }
    let (whole, grouped) = (errors(weights.columns), errors(Self.activationGroup))
    return zip(gradients.meanSquares[index], zip(whole, grouped)).map { square, error in
      0.5 * gradients.tokensPerUnit * square * max(0, error.0 - error.1)
    }
  }

  /// Rows of the head: what an error `d` of one logit costs, without the quadratic approximation.
  ///
  /// Moving logit `r` alone by `d` changes the distribution by `log(1 + p_r (eᵈ − 1)) − p_r d`,
  /// which is at most `p_r (eᵈ − 1 − d)`; with several logits moved the bounds still add up. Rows of
  /// rare tokens have next to no gradient, yet at two bits their logits err by whole units, where
  /// only this form sees it. Tokens that the samples do not expect count with their share of the text.
  private func headLosses(_ index: Int, _ quantized: FloatMatrix) -> [Double] {
    let costs = OutputError.logitCosts(
      original: model.floatWeights(of: index),
      quantized: quantized, samples: statistics[index].samples, pool: pool)
    return zip(costs, tokenShares).map { max($0.expected, $1 * $0.unconditional) }
  }

  /// Rows of a table that is looked up: as often as their token occurs.
  private func lookUpLosses(_ index: Int, _ quantized: FloatMatrix) -> [Double] {
    let original = model.floatWeights(of: index)
    let columns = original.columns
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
