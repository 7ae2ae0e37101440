/// From the losses of masked passes to each operator's share: the regression of mask-guided
/// estimation.
///
/// The model is `loss(pass) ≈ Σ_i share_i · prior_i(format) · width(bits of format)`: the prior says
/// how much output error a format makes in operator `i`, the share says what that error costs the
/// whole model, and a factor for every bit width takes up what is not proportional (large errors
/// saturate). Shares are positive and shrunk towards their prior; what a pass deviates from the
/// model is taken as noise in proportion to its loss.
package struct MaskRegression {
  /// One pass: for every quantized operator its index, its prior error, and its width class.
  package struct Pass {
    package var terms: [(index: Int, prior: Double, width: Int)]
    package var loss: Double

    /// Makes a pass.
    package init(terms: [(index: Int, prior: Double, width: Int)], loss: Double) {
      self.terms = terms
      self.loss = loss
    }
  }

  /// The estimate.
  package struct Estimate {
    /// Loss for a unit of prior error, one an operator.
    package var shares: [Double]
    /// Standard errors of ``shares``.
    package var standardErrors: [Double]
    /// Factor of every width class.
    package var widthFactors: [Double]
    /// Typical relative deviation of a pass from the model.
    package var relativeResidual: Double
  }

  /// Fits the model; at least one pass, priors positive.
  ///
  /// - Parameters:
  ///   - priorShares: what each share is believed to be, up to one common factor.
  ///   - priorSpread: relative spread of the shares around that belief.
  ///   - followsData: whether the belief is so vague that it should give way to the passes.
  package static func fit(
    _ passes: [Pass], priorShares: [Double], priorSpread: Double, followsData: Bool,
    widthCount: Int
  ) -> Estimate {
    var widths = [Double](repeating: 1, count: widthCount)
    var residual = 0.2
    var estimate = Estimate(
      shares: priorShares, standardErrors: priorShares, widthFactors: widths,
      relativeResidual: residual)
    let common = commonFactor(passes, priorShares, widths)
    let beliefs = priorShares.map { max($0 * common, 1e-30) }
    for round in 0..<8 {
      // A vague prior's shares spread over orders of magnitude, so shrinking them by differences
      // would hold back an operator that truly costs ten times its belief. There each round shrinks
      // towards the round before: what the passes determine settles where they say, what they do
      // not stays put.
      let centers =
        round == 0 || !followsData
        ? beliefs : zip(estimate.shares, beliefs).map { max($0, 0.02 * $1) }
      (estimate.shares, estimate.standardErrors) = fitShares(
        passes, centers: centers, spread: priorSpread, widths: widths, residual: residual)
      widths = fitWidths(passes, estimate.shares, widths, residual: residual)
      residual = relativeResidual(passes, estimate.shares, widths)
    }
    estimate.widthFactors = widths
    estimate.relativeResidual = residual
    return estimate
  }

  /// The factor on the prior that fits all passes best, in relative terms.
  private static func commonFactor(
    _ passes: [Pass], _ priors: [Double], _ widths: [Double]
  ) -> Double {
    var (sum, count) = (0.0, 0)
    for pass in passes {
      let predicted = pass.terms.reduce(0) { $0 + priors[$1.index] * $1.prior * widths[$1.width] }
      guard predicted > 0, pass.loss > 0 else { continue }
      sum += pass.loss / predicted
      count += 1
    }
    return count > 0 ? sum / Double(count) : 1
  }

  private static func weight(_ pass: Pass, _ residual: Double) -> Double {
    let scale = max(abs(pass.loss), 1e-12) * max(residual, 0.02)
    return 1 / (scale * scale)
  }

  /// Ridge towards `centers`, non-negative by an active set.
  private static func fitShares(
    _ passes: [Pass], centers: [Double], spread: Double, widths: [Double], residual: Double
  ) -> ([Double], [Double]) {
    let size = centers.count
    // In units of the centers, so that the system is well scaled: share = center · (1 + x).
    var normal = [Double](repeating: 0, count: size * size)
    var right = [Double](repeating: 0, count: size)
    for pass in passes {
      let w = weight(pass, residual)
      let terms = pass.terms.map { ($0.index, $0.prior * widths[$0.width] * centers[$0.index]) }
      let rest = pass.loss - terms.reduce(0) { $0 + $1.1 }
      for (i, a) in terms {
        right[i] += w * a * rest
        for (j, b) in terms { normal[i * size + j] += w * a * b }
      }
    }
    for i in 0..<size { normal[i * size + i] += 1 / (spread * spread) }
    guard let system = SymmetricSystem(normal, size: size) else { return (centers, centers) }
    // A share below a hundredth of its center is held there: shares are never negative.
    let x = system.solve(right).map { max($0, -0.99) }
    let errors = system.inverseDiagonal().map { $0.squareRoot() }
    return (zip(centers, x).map { $0 * (1 + $1) }, zip(centers, errors).map { $0 * $1 })
  }

  /// One factor a width, shrunk towards 1.
  private static func fitWidths(
    _ passes: [Pass], _ shares: [Double], _ current: [Double], residual: Double
  ) -> [Double] {
    let size = current.count
    var normal = [Double](repeating: 0, count: size * size)
    var right = [Double](repeating: 0, count: size)
    for pass in passes {
      let w = weight(pass, residual)
      var parts = [Double](repeating: 0, count: size)
      for term in pass.terms { parts[term.width] += shares[term.index] * term.prior }
      let rest = pass.loss - parts.reduce(0, +)
      for i in 0..<size where parts[i] != 0 {
        right[i] += w * parts[i] * rest
        for j in 0..<size { normal[i * size + j] += w * parts[i] * parts[j] }
      }
    }
    for i in 0..<size { normal[i * size + i] += 1 / (0.3 * 0.3) }
    guard let system = SymmetricSystem(normal, size: size) else { return current }
    return system.solve(right).map { max(0.2, 1 + $0) }
  }

  private static func relativeResidual(
    _ passes: [Pass], _ shares: [Double], _ widths: [Double]
  ) -> Double {
    var sum = 0.0
    for pass in passes {
      let predicted = pass.terms.reduce(0) {
        $0 + shares[$1.index] * $1.prior * widths[$1.width]
      }
      let relative = (pass.loss - predicted) / max(abs(pass.loss), 1e-12)
      sum += min(relative * relative, 1)
    }
    return max(0.02, (sum / Double(max(1, passes.count))).squareRoot())
  }
}
