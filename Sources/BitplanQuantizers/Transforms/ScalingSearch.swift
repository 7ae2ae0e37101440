public import BitplanCore
public import BitplanKernels

/// Chooses the rule that scales one slot with the least error of the operators that read it.
///
/// The score is that of AWQ and GPTQ, `tr(ΔW H ΔWᵀ)` with `H` the inputs' second moment, taken on
/// sampled inputs and weighted by how much the model cares about each output. What writes the slot
/// is scaled row by row, which a quantizer with scales of its own for every row does not notice.
public struct ScalingSearch: Sendable {
  /// One operator that reads the slot.
  public struct Reader: Sendable {
    /// `[outputFeatures, inputFeatures]`.
    public let weights: FloatMatrix
    /// How much an error of each output matters, such as its mean squared gradient.
    public let importance: [Double]

    /// Pairs weights with importance, one value for every output feature.
    public init(weights: FloatMatrix, importance: [Double]) {
      precondition(importance.count == weights.rows, "one importance for every output feature")
      self.weights = weights
      self.importance = importance
    }
  }

  /// A rule and its error.
  public struct Score: Sendable {
    /// The rule.
    public let rule: ScalingRule
    /// `Σ importance · E[(ΔW · x)²]` over the readers' sampled rows.
    public let error: Double
  }

  /// Rows of a reader that are quantized for a score; more are sampled evenly.
  public static let rowLimit = 512

  private let format: WeightFormat
  private let quantizer: RoundToNearest
  private let pool: ThreadPool

  /// A search that scores by rounding to nearest with a clip search.
  ///
  /// - Parameter format: the format that rules are scored at; the best factors depend on its width.
  public init(format: WeightFormat, pool: ThreadPool) {
    self.format = format
    self.pool = pool
    quantizer = RoundToNearest(pool: pool)
  }

  /// The error of every rule, in their order.
  ///
  /// - Parameters:
  ///   - samples: inputs of the readers, `[samples, inputFeatures]`.
  ///   - factorOfInput: the factor of every input feature.
  ///   - factorCount: factors of the slot.
  public func scores(
    _ rules: [ScalingRule], readers: [Reader], samples: FloatMatrix, factorOfInput: [Int],
    factorCount: Int
  ) -> [Score] {
    let statistics = SlotStatistics(
      samples: samples, factorOfFeature: factorOfInput, factorCount: factorCount,
      readers: readers.map(\.weights))
    let meanSquares = Self.meanSquares(samples)
    let sampled = readers.map { Self.thinned($0) }
    return rules.map { rule in
      let factors = rule.factors(statistics)
      let expanded = factorOfInput.map { factors[$0] }
      let error = sampled.reduce(0) {
        $0 + self.error($1, expanded, samples: samples, meanSquares)
      }
      return Score(rule: rule, error: error)
    }
  }

  /// The rule with the least error; the first of equals.
  ///
  /// - Parameter advantage: share by which a rule must beat no scaling to be chosen, so that noise
  ///   changes nothing.
  public func best(
    _ rules: [ScalingRule], readers: [Reader], samples: FloatMatrix, factorOfInput: [Int],
    factorCount: Int, advantage: Double = 0.01
  ) -> Score {
    let scores = scores(
      [.identity] + rules, readers: readers, samples: samples, factorOfInput: factorOfInput,
      factorCount: factorCount)
    var best = scores[0]
    for score in scores.dropFirst()
    where score.error < min(best.error, (1 - advantage) * scores[0].error) {
      best = score
    }
    return best
  }

  private func error(
    _ reader: Reader, _ factors: [Float], samples: FloatMatrix, _ meanSquares: [Float]
  ) -> Double {
    let scaled = Self.scaled(reader.weights) { factors[$0] }
    let squares = zip(meanSquares, factors).map { $0 / ($1 * $1) }
    let codes = quantizer.quantize(scaled, as: format, meanSquaredInput: squares)
    let restored = Self.scaled(
      FloatMatrix(
        rows: scaled.rows, columns: scaled.columns, values: codes.dequantized())
    ) { 1 / factors[$0] }
    let errors = OutputError.meanSquared(
      original: reader.weights, quantized: restored, samples: samples, pool: pool)
    return zip(errors, reader.importance).reduce(0) { $0 + $1.0 * $1.1 }
  }

  private static func scaled(_ matrix: FloatMatrix, _ factor: (Int) -> Float) -> FloatMatrix {
    let result = FloatMatrix(rows: matrix.rows, columns: matrix.columns)
    let factors = (0..<matrix.columns).map(factor)
    matrix.withUnsafeBufferPointer { source in
      result.withUnsafeMutableBufferPointer { target in
        for row in 0..<matrix.rows {
          let begin = row * matrix.columns
          for column in 0..<matrix.columns {
            target[begin + column] = source[begin + column] * factors[column]
          }
        }
      }
    }
    return result
  }

  private static func meanSquares(_ samples: FloatMatrix) -> [Float] {
    var sums = [Double](repeating: 0, count: samples.columns)
    samples.withUnsafeBufferPointer { x in
      for row in 0..<samples.rows {
        for column in sums.indices {
          let value = Double(x[row * samples.columns + column])
          sums[column] += value * value
        }
      }
    }
    return sums.map { Float($0 / Double(max(1, samples.rows))) }
  }

  /// At most ``rowLimit`` rows, evenly spread.
  private static func thinned(_ reader: Reader) -> Reader {
    let rows = reader.weights.rows
    guard rows > rowLimit else { return reader }
    let columns = reader.weights.columns
    let kept = (0..<rowLimit).map { $0 * rows / rowLimit }
    let result = FloatMatrix(rows: rowLimit, columns: columns)
    reader.weights.withUnsafeBufferPointer { source in
      result.withUnsafeMutableBufferPointer { target in
        for (row, sourceRow) in kept.enumerated() {
          for column in 0..<columns {
            target[row * columns + column] = source[sourceRow * columns + column]
          }
        }
      }
    }
    return Reader(weights: result, importance: kept.map { reader.importance[$0] })
  }
}
