public import BitplanCore
internal import Foundation

extension ScalingRule {
  /// A power of the mean magnitude (AWQ, Lin et al. 2023): 20 exponents, as its code tries.
  public static let meanPowers = (0..<20).map {
    ScalingRule(.mean, inputExponent: Double($0) / 20)
  }

  /// Largest magnitudes of inputs against those of weights (SmoothQuant, Xiao et al. 2022), for the
  /// migration strengths 0.05 … 0.95.
  public static let migrations = (1..<20).map { smoothing(Double($0) / 20) }

  /// SmoothQuant's rule for one migration strength.
  public static func smoothing(_ strength: Double) -> ScalingRule {
    ScalingRule(.maximum, inputExponent: strength, weightExponent: 1 - strength)
  }

  /// The root of the keys' largest magnitudes, moved to the queries (SmoothAttention of QServe, Lin
  /// et al. 2024, arXiv:2405.04532).
  public static let smoothedKeys = ScalingRule(.maximum, inputExponent: 0.5)

  /// Outliers only (DGQ, Zhang et al. 2023).
  public static let outliers = ScalingRule(.outlier, inputExponent: 1)

  /// A closed grid that stands in for OmniQuant's learned factors (Shao et al. 2023,
  /// arXiv:2308.13137): every mix of a power of the mean or largest input with a power of the
  /// weights, the candidates of SVDQuant's search among them.
  public static let grid: [ScalingRule] = {
    let exponents = [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.75]
    let mixed = exponents.flatMap { input in
      [0.15, 0.3, 0.5].map { ScalingRule(.mean, inputExponent: input, weightExponent: $0) }
    }
    return meanPowers + migrations + mixed + [outliers]
  }()

  /// The factors that this rule gives, with a geometric mean of 1, each within 10⁻³ … 10³.
  ///
  /// - Parameter statistics: magnitudes of the features and, where the rule weighs them, of the
  ///   weights that read them.
  public func factors(_ statistics: SlotStatistics) -> [Float] {
    let count = statistics.mean.count
    guard !isIdentity else { return [Float](repeating: 1, count: count) }
    let magnitudes: [Float]
    switch statistic {
    case .mean: magnitudes = statistics.mean
    case .maximum: magnitudes = statistics.maximum
    case .outlier:
      let sorted = statistics.maximum.sorted(by: >)
      // The baseline as DGQ's code picks it: the feature at the top 0.5 %.
      let place = min(max(0, count - 1), Int(0.005 * Double(count) + 1.5))
      let baseline = max(sorted.isEmpty ? 1 : sorted[place], 1e-12)
      magnitudes = statistics.maximum.map { max(1, $0 / baseline) }
    }
    // A feature that was never active, or that nothing reads, keeps the smallest one's factor.
    let inputs = Self.logarithms(magnitudes)
    let weights = Self.logarithms(statistics.weightMaximum)
    var logarithms = (0..<count).map { index in
      inputExponent * inputs[index]
        - (weightExponent > 0 && !weights.isEmpty ? weightExponent * weights[index] : 0)
    }
    let mean = logarithms.reduce(0, +) / Double(max(1, count))
    let limit = log(1e3)
    for index in logarithms.indices {
      logarithms[index] = min(max(logarithms[index] - mean, -limit), limit)
    }
    return logarithms.map { Float(exp($0)) }
  }

  /// Natural logarithms, zeros lifted to a ten-thousandth of the largest value.
  private static func logarithms(_ values: [Float]) -> [Double] {
    let floor = max((values.max() ?? 0) * 1e-4, 1e-20)
    return values.map { log(Double(max($0, floor))) }
  }
}
