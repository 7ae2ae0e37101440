import BitplanCore
import BitplanSensitivity
import Testing

struct MaskRegressionTests {
  /// Passes over `shares.count` operators in masks of three, two width classes.
  static func passes(
    _ shares: [Double], widths: [Double], noise: Double, count: Int, seed: UInt64
  ) -> [MaskRegression.Pass] {
    var generator = SeededGenerator(state: seed)
    return (0..<count).map { index in
      let chosen = shares.indices.shuffled(using: &generator).prefix(3)
      let width = index % 2
      let terms = chosen.map {
        (index: $0, prior: Double.random(in: 0.5...2, using: &generator), width: width)
      }
      let exact = terms.reduce(0) { $0 + shares[$1.index] * $1.prior * widths[$1.width] }
      return MaskRegression.Pass(
        terms: terms, loss: exact * (1 + Double.random(in: -noise...noise, using: &generator)))
    }
  }

  @Test("exact passes give the shares back")
  func recovers() {
    let shares = [0.4, 1.0, 0.1, 2.0, 0.7, 1.3]
    let estimate = MaskRegression.fit(
      Self.passes(shares, widths: [1, 1], noise: 0, count: 120, seed: 1),
      priorShares: [Double](repeating: 1, count: 6), priorSpread: 1.5, followsData: true,
      widthCount: 2)
    for (share, estimated) in zip(shares, estimate.shares) {
      // The residual floor of 2 % weighs 120 passes against a prior 1.5 wide: well below 2 %.
      let scaled = estimated * (estimate.widthFactors[0] + estimate.widthFactors[1]) / 2
      #expect(abs(scaled - share) <= 0.02 * share + 0.005)
    }
    #expect(estimate.relativeResidual <= 0.03)
  }

  @Test("standard errors cover the truth and grow with the noise")
  func standardErrors() {
    let shares = [0.4, 1.0, 0.3, 2.0, 0.7, 1.3, 0.9, 0.5]
    var errors: [Double] = []
    for noise in [0.05, 0.4] {
      let estimate = MaskRegression.fit(
        Self.passes(shares, widths: [1, 1], noise: noise, count: 80, seed: 2),
        priorShares: [Double](repeating: 1, count: 8), priorSpread: 1.5, followsData: true,
        widthCount: 2)
      let factor = (estimate.widthFactors[0] + estimate.widthFactors[1]) / 2
      let covered = shares.indices.count {
        abs(estimate.shares[$0] * factor - shares[$0]) <= 3 * estimate.standardErrors[$0]
      }
      #expect(covered >= 7)
      errors.append(estimate.standardErrors.reduce(0, +))
    }
    #expect(errors[1] > 2 * errors[0])
  }

  @Test("a width that costs less than in proportion gets a factor below 1")
  func widthFactors() {
    let shares = [0.5, 1.0, 1.5, 0.8]
    let estimate = MaskRegression.fit(
      Self.passes(shares, widths: [1, 0.6], noise: 0, count: 100, seed: 3),
      priorShares: [Double](repeating: 1, count: 4), priorSpread: 1.5, followsData: true,
      widthCount: 2)
    // Shares and factors have one common scale; only their ratio is determined.
    #expect(abs(estimate.widthFactors[1] / estimate.widthFactors[0] - 0.6) < 0.05)
  }

  @Test("an operator that no pass saw keeps its prior, and shares are never negative")
  func unseenAndNegative() {
    var passes = Self.passes([1, 1, 1, 1], widths: [1, 1], noise: 0, count: 40, seed: 4)
    passes.append(MaskRegression.Pass(terms: [(index: 0, prior: 1, width: 0)], loss: -5))
    let estimate = MaskRegression.fit(
      passes, priorShares: [Double](repeating: 1, count: 5), priorSpread: 1.5, followsData: true,
      widthCount: 2)
    #expect(estimate.shares.allSatisfy { $0 >= 0 && $0.isFinite })
    #expect(estimate.shares[4] > 0)
    #expect(estimate.standardErrors[4] > 0.9 * estimate.shares[4])
  }

  @Test("Cholesky solves and inverts a system worked out by hand")
  func symmetricSystem() throws {
    let system = try #require(SymmetricSystem([4, 2, 2, 3], size: 2))
    // Inverse of [[4, 2], [2, 3]] is [[3, −2], [−2, 4]] / 8.
    #expect(zip(system.solve([8, 16]), [-1.0, 6.0]).allSatisfy { abs($0 - $1) < 1e-12 })
    #expect(zip(system.inverseDiagonal(), [0.375, 0.5]).allSatisfy { abs($0 - $1) < 1e-12 })
    #expect(SymmetricSystem([1, 2, 2, 1], size: 2) == nil)
    #expect(SymmetricSystem([.nan], size: 1) == nil)
  }
}
