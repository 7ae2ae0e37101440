public import BitplanKernels
internal import CBLAS

/// The quadratic form that an operator's rounding errors are weighed with: `H = E[x xᵀ]` over
/// calibration tokens (GPTQ's Hessian without its factor 2), with the factor that error feedback
/// needs. The diagonal is damped, so the form is positive definite.
public final class InputCurvature: Sendable {
  /// `H`, symmetric `[size, size]`, damped.
  let matrix: FloatMatrix
  /// What the diagonal was raised by.
  let damping: Float
  /// Unit upper triangular `M` with `P·H·Pᵀ = M · D · Mᵀ`, where `P` puts input features in
  /// ``order``; the diagonal is not stored.
  let feedback: FloatMatrix
  /// Input features in the order they are rounded in: the largest diagonal first.
  let order: [Int]

  /// Input features.
  public var size: Int { order.count }

  /// Makes the curvature of an input.
  ///
  /// - Parameters:
  ///   - products: `E[x xᵀ]`, `[inputFeatures, inputFeatures]`, symmetric, positive semidefinite.
  ///   - damping: what is added to the diagonal, as a share of its mean (GPTQ: 0.01).
  public init(_ products: FloatMatrix, damping: Float = 0.01) {
    precondition(products.rows == products.columns, "a square matrix")
    let size = products.columns
    let diagonal = (0..<size).map { products[$0, $0] }
    order = diagonal.indices.sorted {
      diagonal[$0] != diagonal[$1] ? diagonal[$0] > diagonal[$1] : $0 < $1
    }
    // A silent input still gets a curvature: its weights then keep the nearest code.
    let mean = diagonal.reduce(0, +) / Float(max(1, size))
    let scale = mean > 0 && mean.isFinite ? mean : 1
    matrix = FloatMatrix(rows: size, columns: size, values: products.values)
    var share = damping
    var raised: Float = 0
    while true {
      raised += share * scale
      for index in 0..<size { matrix[index, index] = products[index, index] + raised }
      if let factor = Self.unitUpperFactor(matrix, order) {
        feedback = factor
        break
      }
      // Few tokens and rounding can leave it indefinite: damp harder.
      share = max(4 * share, 1e-4)
    }
    self.damping = raised
  }

  /// `(ŵ_r − w_r) H (ŵ_r − w_r)ᵀ` of every row without the damping: the mean squared error of every
  /// output, `[rows]`.
  ///
  /// - Parameters:
  ///   - original: `W`, `[rows, size]`.
  ///   - quantized: `Ŵ`, dequantized, of the same shape.
  public func meanSquaredErrors(original: FloatMatrix, quantized: FloatMatrix) -> [Double] {
    precondition(original.columns == size && quantized.columns == size)
    precondition(original.rows == quantized.rows)
    let rows = original.rows
    let size = size
    let difference = FloatMatrix(rows: rows, columns: size)
    let product = FloatMatrix(rows: rows, columns: size)
    var result = [Double](repeating: 0, count: rows)
    difference.withUnsafeMutableBufferPointer { e in
      original.withUnsafeBufferPointer { w in
        quantized.withUnsafeBufferPointer { q in
          for index in e.indices { e[index] = q[index] - w[index] }
        }
      }
      product.withUnsafeMutableBufferPointer { product in
        matrix.withUnsafeBufferPointer { h in
          cblas_sgemm(
            CblasRowMajor, CblasNoTrans, CblasNoTrans, Int32(rows), Int32(size), Int32(size), 1,
            e.baseAddress, Int32(size), h.baseAddress, Int32(size), 0, product.baseAddress,
            Int32(size))
        }
        for row in 0..<rows {
          var (sum, square) = (0.0, 0.0)
          for column in row * size..<(row + 1) * size {
            sum += Double(e[column]) * Double(product[column])
            square += Double(e[column]) * Double(e[column])
          }
          result[row] = max(0, sum - square * Double(damping))
        }
      }
    }
    return result
  }

  /// `M` of `P·H·Pᵀ = M · D · Mᵀ`, or `nil` when `H` is not positive definite.
  ///
  /// Cholesky gives a lower factor; with rows and columns in reverse it is the upper one.
  private static func unitUpperFactor(_ matrix: FloatMatrix, _ order: [Int]) -> FloatMatrix? {
    let size = matrix.columns
    let reversed = FloatMatrix(rows: size, columns: size)
    let factor = FloatMatrix(rows: size, columns: size)
    matrix.withUnsafeBufferPointer { h in
      reversed.withUnsafeMutableBufferPointer { target in
        for row in 0..<size {
          for column in 0..<size {
            target[row * size + column] = h[order[size - 1 - row] * size + order[size - 1 - column]]
          }
        }
      }
    }
    // What LAPACK takes for the upper triangle by columns is the lower one by rows.
    var (triangle, count, info) = (CChar(UInt8(ascii: "U")), Int32(size), Int32(0))
    reversed.withUnsafeMutableBufferPointer {
      spotrf_(&triangle, &count, $0.baseAddress, &count, &info, 1)
    }
    guard info == 0 else { return nil }
    reversed.withUnsafeBufferPointer { lower in
      factor.withUnsafeMutableBufferPointer { upper in
        for column in 0..<size {
          let reverse = size - 1 - column
          let diagonal = lower[reverse * size + reverse]
          for row in 0..<column {
            upper[row * size + column] = lower[(size - 1 - row) * size + reverse] / diagonal
          }
        }
      }
    }
    return factor
  }
}
