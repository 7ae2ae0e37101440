public import BitplanCore
public import BitplanKernels
internal import CBLAS

/// `B · A`, added to what the codes give: a correction of low rank in binary16.
///
/// The factors minimise `Σ importance · E[((R − B·A) · x)²]` for the residual `R` that quantizing
/// leaves (SVDQuant, Li et al. 2024, arXiv:2411.05007; the error-side variant of low-rank
/// correction). With `E = G^½ · R · Xᵀ`, the outputs' weighted errors on samples, the best left
/// factor spans the largest left singular vectors `Q` of `E`, and the best right one is `Qᵀ·G^½·R`,
/// whatever the inputs' covariance; `Q` is found by randomized subspace iteration (Halko,
/// Martinsson, Tropp 2011, arXiv:0909.4061).
public struct LowRankBranch: Sendable {
  /// `B`, `[outputFeatures, rank]`, values of binary16.
  public let left: FloatMatrix
  /// `A`, `[rank, inputFeatures]`, values of binary16.
  public let right: FloatMatrix

  /// Columns of `B`.
  public var rank: Int { left.columns }
  /// Bytes of both factors in binary16.
  public var storedBytes: Int { 2 * rank * (left.rows + right.columns) }
  /// Bytes of a branch of this rank beside weights of this shape.
  public static func storedBytes(_ shape: MatrixShape, rank: Int) -> Int {
    2 * rank * (shape.outputFeatures + shape.inputFeatures)
  }

  /// Fits a residual.
  ///
  /// - Parameters:
  ///   - residual: `R = W − Ŵ`, `[outputFeatures, inputFeatures]`.
  ///   - rank: at least 1; cut to what the residual and the samples allow.
  ///   - samples: inputs, `[samples, inputFeatures]`, at least one.
  ///   - importance: one non-negative value for every output feature, or `nil` for equal ones.
  ///   - seed: of the random start.
  /// - Complexity: O(outputs · inputs · samples) multiply-adds for the errors, and
  ///   O(outputs · samples · rank) for each of four subspace iterations.
  public init(
    residual: FloatMatrix, rank: Int, samples: FloatMatrix, importance: [Double]? = nil,
    seed: UInt64 = 1
  ) {
    let (rows, columns) = (residual.rows, residual.columns)
    precondition(samples.columns == columns && samples.rows > 0, "samples are inputs")
    precondition(rank > 0 && (importance.map { $0.count == rows } ?? true))
    let scales = Self.rowScales(importance, count: rows)
    let weighted = FloatMatrix(rows: rows, columns: columns)
    weighted.withUnsafeMutableBufferPointer { target in
      residual.withUnsafeBufferPointer { source in
        for index in target.indices { target[index] = source[index] * scales[index / columns] }
      }
    }
    let errors = Self.product(weighted, samples, transposed: true)
    let kept = min(rank, rows, samples.rows, columns)
    let basis = Subspace.leading(of: errors, count: kept, seed: seed)
    let left = FloatMatrix(rows: rows, columns: kept)
    for row in 0..<rows {
      for column in 0..<kept { left[row, column] = basis[column, row] / scales[row] }
    }
    self.left = Self.rounded(left)
    self.right = Self.rounded(Self.product(basis, weighted, transposed: false))
  }

  /// `B · A`, `[outputFeatures, inputFeatures]`.
  public var product: FloatMatrix { Self.product(left, right, transposed: false) }

  /// The root of each output's importance, floored so that it can be divided by.
  private static func rowScales(_ importance: [Double]?, count: Int) -> [Float] {
    guard let importance else { return [Float](repeating: 1, count: count) }
    let mean = importance.reduce(0, +) / Double(max(1, count))
    guard mean > 0 else { return [Float](repeating: 1, count: count) }
    return importance.map { Float(max($0 / mean, 1e-4).squareRoot()) }
  }

  private static func rounded(_ matrix: FloatMatrix) -> FloatMatrix {
    FloatMatrix(
      rows: matrix.rows, columns: matrix.columns, values: matrix.values.map { Float(Float16($0)) })
  }

  /// `a · b`, or `a · bᵀ`.
  static func product(_ a: FloatMatrix, _ b: FloatMatrix, transposed: Bool) -> FloatMatrix {
    let (inner, columns) = transposed ? (b.columns, b.rows) : (b.rows, b.columns)
    precondition(a.columns == inner, "inner sizes agree")
    let result = FloatMatrix(rows: a.rows, columns: columns)
    guard a.rows > 0, columns > 0, inner > 0 else { return result }
    a.withUnsafeBufferPointer { a in
      b.withUnsafeBufferPointer { b in
        result.withUnsafeMutableBufferPointer { c in
          cblas_sgemm(
            CblasRowMajor, CblasNoTrans, transposed ? CblasTrans : CblasNoTrans,
            Int32(result.rows), Int32(columns), Int32(inner), 1, a.baseAddress, Int32(inner),
            b.baseAddress, Int32(transposed ? inner : columns), 0, c.baseAddress, Int32(columns))
        }
      }
    }
    return result
  }
}
