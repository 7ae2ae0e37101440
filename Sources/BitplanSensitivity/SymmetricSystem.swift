/// A small symmetric positive definite system, by Cholesky factorisation in `Double`.
package struct SymmetricSystem {
  private let size: Int
  private var factor: [Double]

  /// Factors `matrix`, row-major `[size, size]`; `nil` if it is not positive definite.
  package init?(_ matrix: [Double], size: Int) {
    precondition(matrix.count == size * size)
    self.size = size
    factor = matrix
    for column in 0..<size {
      var diagonal = factor[column * size + column]
      for k in 0..<column { diagonal -= factor[column * size + k] * factor[column * size + k] }
      guard diagonal > 0, diagonal.isFinite else { return nil }
      let root = diagonal.squareRoot()
      factor[column * size + column] = root
      for row in column + 1..<max(size, column + 1) {
        var sum = factor[row * size + column]
        for k in 0..<column { sum -= factor[row * size + k] * factor[column * size + k] }
        factor[row * size + column] = sum / root
      }
    }
  }

  /// `x` with `matrix · x = right`.
  package func solve(_ right: [Double]) -> [Double] {
    var x = right
    for row in 0..<size {
      for k in 0..<row { x[row] -= factor[row * size + k] * x[k] }
      x[row] /= factor[row * size + row]
    }
    for row in stride(from: size - 1, through: 0, by: -1) {
      for k in row + 1..<max(size, row + 1) { x[row] -= factor[k * size + row] * x[k] }
      x[row] /= factor[row * size + row]
    }
    return x
  }

  /// The diagonal of the inverse: variances, where the matrix is a precision.
  package func inverseDiagonal() -> [Double] {
    (0..<size).map { index in
      var unit = [Double](repeating: 0, count: size)
      unit[index] = 1
      return solve(unit)[index]
    }
  }
}
