public import BitplanKernels
internal import CBLAS

/// The quadratic form that an operator's rounding errors are weighed with: `H = E[x xᵀ]` over
/// calibration tokens (GPTQ's Hessian without its factor 2), with the factor that error feedback
/// needs. The diagonal is damped, so the form is positive definite.
public final class InputCurvature: Sendable {
  /// `H`, symmetric `[size, size]`, damped.
  package let matrix: FloatMatrix
  /// What the diagonal was raised by.
  package let damping: Float
  /// Unit upper triangular `M` with `P·H·Pᵀ = M · D · Mᵀ`, where `P` puts input features in
  /// ``order``; the diagonal is not stored.
  package let feedback: FloatMatrix
  /// Input features in the order they are rounded in: the largest diagonal first.
  package let order: [Int]

  /// Input features.
  public var size: Int { order.count }

  /// Puts a curvature together from its parts, such as those that were set aside on disk.
  package init(matrix: FloatMatrix, damping: Float, feedback: FloatMatrix, order: [Int]) {
    precondition(
      matrix.rows == order.count && matrix.columns == order.count
        && feedback.rows == order.count && feedback.columns == order.count, "parts of one curvature"
    )
    self.matrix = matrix
    self.damping = damping
    self.feedback = feedback
    self.order = order
  }

  /// Makes the curvature of an input.
  ///
  /// - Parameters:
  ///   - products: `E[x xᵀ]`, `[inputFeatures, inputFeatures]`, symmetric, positive semidefinite.
  ///     The curvature keeps the matrix and raises its diagonal: at ten thousand features a copy is
  ///     half a gigabyte.
  ///   - damping: what is added to the diagonal, as a share of its mean (GPTQ: 0.01).
  ///   - pool: threads for the factor; its bits do not depend on their number.
  public init(takingOver products: FloatMatrix, damping: Float = 0.01, pool: ThreadPool) {
    precondition(products.rows == products.columns, "a square matrix")
    let size = products.columns
    let diagonal = (0..<size).map { products[$0, $0] }
    let order = diagonal.indices.sorted {
      diagonal[$0] != diagonal[$1] ? diagonal[$0] > diagonal[$1] : $0 < $1
    }
    // A silent input still gets a curvature: its weights then keep the nearest code.
    let mean = diagonal.reduce(0, +) / Float(max(1, size))
    let scale = mean > 0 && mean.isFinite ? mean : 1
    var share = damping
    var raised: Float = 0
    let factor = FloatMatrix(rows: size, columns: size)
    repeat {
      raised += share * scale
      for index in 0..<size { products[index, index] = diagonal[index] + raised }
      // Few tokens and rounding can leave it indefinite: damp harder the next time.
      share = max(4 * share, 1e-4)
    } while !TriangularFactor.makeUnitUpper(of: products, in: order, into: factor, pool)
    matrix = products
    feedback = factor
    self.order = order
    self.damping = raised
  }

  /// `(ŵ_r − w_r) H (ŵ_r − w_r)ᵀ` of every row without the damping: the mean squared error of every
  /// output, `[rows]`.
  ///
  /// - Parameters:
  ///   - original: `W`, `[rows, size]`.
  ///   - quantized: `Ŵ`, dequantized, of the same shape.
  ///   - pool: threads that share the rows.
  public func meanSquaredErrors(
    original: FloatMatrix, quantized: FloatMatrix, pool: ThreadPool
  ) -> [Double] {
    precondition(original.columns == size && quantized.columns == size)
    precondition(original.rows == quantized.rows)
    return meanSquaredOutputs(of: OutputError.difference(original, quantized), pool: pool)
  }

  /// `w_r H w_rᵀ` of every row without the damping: the mean square of every output, `[rows]`.
  ///
  /// - Parameter weights: `[rows, size]`.
  public func meanSquaredOutputs(of weights: FloatMatrix, pool: ThreadPool) -> [Double] {
    precondition(weights.columns == size)
    let size = size
    return OutputError.byRowBlocks(weights.rows, width: size, pool) { rows, product, result in
      weights.withUnsafeBufferPointer { weights in
        guard let start = weights.baseAddress else { return }
        let w = start + rows.lowerBound * size
        matrix.withUnsafeBufferPointer { h in
          cblas_sgemm(
            CblasRowMajor, CblasNoTrans, CblasNoTrans, Int32(rows.count), Int32(size), Int32(size),
            1, w, Int32(size), h.baseAddress, Int32(size), 0, product, Int32(size))
        }
        for row in 0..<rows.count {
          var (sum, square) = (0.0, 0.0)
          for column in row * size..<(row + 1) * size {
            sum += Double(w[column]) * Double(product[column])
            square += Double(w[column]) * Double(w[column])
          }
          result[row] = max(0, sum - square * Double(damping))
        }
      }
    }
  }
}
