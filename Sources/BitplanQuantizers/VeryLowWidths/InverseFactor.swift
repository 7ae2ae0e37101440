internal import BitplanKernels

/// Upper triangular `U` with `H⁻¹ = Uᵀ·U`, input features in their own order: what GPTQ feeds errors
/// forward with.
struct InverseFactor {
  private let size: Int
  private let values: [Double]

  /// Factors the inverse of a positive definite matrix.
  ///
  /// - Complexity: O(size³).
  init(of matrix: FloatMatrix) {
    let n = matrix.columns
    // H = R·Rᵀ with R upper triangular, from the last column; U is R's inverse.
    var r = [Double](repeating: 0, count: n * n)
    var u = r
    r.withUnsafeMutableBufferPointer { r in
      matrix.withUnsafeBufferPointer { h in
        for j in (0..<n).reversed() {
          for i in (0...j).reversed() {
            var sum = Double(h[i * n + j])
            for k in j + 1..<max(n, j + 1) { sum -= r[i * n + k] * r[j * n + k] }
            r[i * n + j] =
              i == j ? max(sum, .leastNormalMagnitude).squareRoot() : sum / r[j * n + j]
          }
        }
      }
      u.withUnsafeMutableBufferPointer { u in
        for i in (0..<n).reversed() {
          for k in i + 1..<max(n, i + 1) {
            let factor = r[i * n + k] / r[i * n + i]
            for j in k..<n { u[i * n + j] -= factor * u[k * n + j] }
          }
          u[i * n + i] = 1 / r[i * n + i]
        }
      }
    }
    (size, values) = (n, u)
  }

  subscript(row: Int, column: Int) -> Double { values[row * size + column] }

  /// Subtracts what a block's errors, divided by the diagonal, change in the columns after it.
  func feed(_ errors: [Double], from block: Range<Int>, into rest: inout [Float], row: Int) {
    let end = block.upperBound
    guard end < size else { return }
    values.withUnsafeBufferPointer { u in
      rest.withUnsafeMutableBufferPointer { rest in
        for column in block {
          let error = errors[column - block.lowerBound]
          for later in end..<size {
            rest[row + later] -= Float(error * u[column * size + later])
          }
        }
      }
    }
  }
}
