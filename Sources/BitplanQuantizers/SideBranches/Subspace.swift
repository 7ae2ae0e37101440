internal import BitplanCore
internal import BitplanKernels

/// The leading left singular vectors of a matrix, by randomized subspace iteration.
enum Subspace {
  /// Directions beyond those that are wanted, so that the wanted ones converge fast.
  private static let extra = 8
  private static let iterations = 4

  /// Orthonormal rows that span the leading left singular space, `[count, matrix.rows]`, the
  /// largest singular value first.
  static func leading(of matrix: FloatMatrix, count: Int, seed: UInt64) -> FloatMatrix {
    let width = min(count + extra, matrix.rows, matrix.columns)
    var generator = SeededGenerator(state: seed)
    // Rows are directions, so that orthogonalizing walks along memory.
    let start = FloatMatrix(
      rows: width, columns: matrix.columns,
      values: (0..<width * matrix.columns).map { _ in
        Float.random(in: -1...1, using: &generator)
      })
    var left = FloatProducts.product(start, matrix, transposed: true)
    orthogonalize(left)
    for _ in 0..<iterations {
      let right = FloatProducts.product(left, matrix, transposed: false)
      orthogonalize(right)
      left = FloatProducts.product(right, matrix, transposed: true)
      orthogonalize(left)
    }
    return turned(left, FloatProducts.product(left, matrix, transposed: false), count: count)
  }

  /// The `count` directions within the span of `basis` that carry most of `image = basis · matrix`.
  private static func turned(
    _ basis: FloatMatrix, _ image: FloatMatrix, count: Int
  ) -> FloatMatrix {
    let size = basis.rows
    let gram = FloatProducts.product(image, image, transposed: true).values.map { Double($0) }
    let (values, vectors) = SymmetricEigen.solve(gram, size: size)
    let order = values.indices.sorted { values[$0] > values[$1] }.prefix(count)
    let turn = FloatMatrix(rows: count, columns: size)
    for (row, index) in order.enumerated() {
      for column in 0..<size { turn[row, column] = Float(vectors[column * size + index]) }
    }
    return FloatProducts.product(turn, basis, transposed: false)
  }

  /// Makes rows orthonormal in place, by Gram–Schmidt done twice; rows that vanish become zeros.
  private static func orthogonalize(_ matrix: FloatMatrix) {
    let columns = matrix.columns
    matrix.withUnsafeMutableBufferPointer { m in
      for row in 0..<matrix.rows {
        let before = length(m, row, columns)
        for _ in 0..<2 {
          for other in 0..<row {
            var product = 0.0
            for column in 0..<columns {
              product += Double(m[row * columns + column]) * Double(m[other * columns + column])
            }
            let factor = Float(product)
            for column in 0..<columns {
              m[row * columns + column] -= factor * m[other * columns + column]
            }
          }
        }
        let after = length(m, row, columns)
        let scale = after > 1e-6 * before && after > 0 ? Float(1 / after) : 0
        for column in 0..<columns { m[row * columns + column] *= scale }
      }
    }
  }

  private static func length(
    _ m: UnsafeMutableBufferPointer<Float>, _ row: Int, _ columns: Int
  ) -> Double {
    var sum = 0.0
    for column in 0..<columns {
      sum += Double(m[row * columns + column]) * Double(m[row * columns + column])
    }
    return sum.squareRoot()
  }
}

/// Eigenvalues and vectors of a small symmetric matrix, by Jacobi's rotations.
enum SymmetricEigen {
  /// - Parameter matrix: `[size, size]`, symmetric.
  /// - Returns: eigenvalues in no order, and `[size, size]` whose columns are their vectors.
  static func solve(_ matrix: [Double], size: Int) -> (values: [Double], vectors: [Double]) {
    var a = matrix
    var v = (0..<size * size).map { $0 / size == $0 % size ? 1.0 : 0.0 }
    let scale = matrix.reduce(0) { max($0, abs($1)) }
    for _ in 0..<60 {
      var largest = 0.0
      for p in 0..<size {
        for q in p + 1..<max(size, p + 1) {
          let off = a[p * size + q]
          largest = max(largest, abs(off))
          guard abs(off) > 1e-15 * scale else { continue }
          let theta = (a[q * size + q] - a[p * size + p]) / (2 * off)
          let t = (theta >= 0 ? 1.0 : -1.0) / (abs(theta) + (theta * theta + 1).squareRoot())
          let c = 1 / (t * t + 1).squareRoot()
          let s = t * c
          for k in 0..<size {
            let (x, y) = (a[k * size + p], a[k * size + q])
            a[k * size + p] = c * x - s * y
            a[k * size + q] = s * x + c * y
          }
          for k in 0..<size {
            let (x, y) = (a[p * size + k], a[q * size + k])
            a[p * size + k] = c * x - s * y
            a[q * size + k] = s * x + c * y
          }
          for k in 0..<size {
            let (x, y) = (v[k * size + p], v[k * size + q])
            v[k * size + p] = c * x - s * y
            v[k * size + q] = s * x + c * y
          }
        }
      }
      if largest <= 1e-14 * scale { break }
    }
    return ((0..<size).map { a[$0 * size + $0] }, v)
  }
}
