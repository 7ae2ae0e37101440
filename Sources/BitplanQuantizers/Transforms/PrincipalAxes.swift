public import BitplanKernels

/// The directions that inputs vary most along, for both indices of inputs that are seen as matrices.
public enum PrincipalAxes {
  /// Eigenvectors of the two partial traces of the inputs' second moments: with a row of inputs seen as
  /// `X [slow, fast]`, of `E[X · Xᵀ]` and of `E[Xᵀ · X]`.
  ///
  /// Partial traces are what a covariance leaves of itself for one factor of a Kronecker product. The
  /// same inputs give the same axes on every machine.
  ///
  /// - Parameters:
  ///   - samples: `[samples, slow · fast]`.
  ///   - slow: rows of a sample's matrix.
  /// - Returns: `[slow, slow]` and `[fast, fast]`; columns are axes, the one of most energy first, each
  ///   with its largest component positive.
  /// - Complexity: O(samples · inputs · (slow + fast) + slow³ + fast³).
  public static func ofMatrices(
    _ samples: FloatMatrix, slow: Int
  ) -> (slow: FloatMatrix, fast: FloatMatrix) {
    precondition(slow > 0 && samples.columns % slow == 0, "rows must fill a sample")
    let fast = samples.columns / slow
    var (ofSlow, ofFast) = (
      [Double](repeating: 0, count: slow * slow), [Double](repeating: 0, count: fast * fast)
    )
    samples.withUnsafeBufferPointer { values in
      var x = [Double](repeating: 0, count: slow * fast)
      var turned = x
      for sample in 0..<samples.rows {
        for row in 0..<slow {
          for column in 0..<fast {
            let value = Double(values[(sample * slow + row) * fast + column])
            x[row * fast + column] = value
            turned[column * slow + row] = value
          }
        }
        add(turned, rows: fast, columns: slow, to: &ofSlow)
        add(x, rows: slow, columns: fast, to: &ofFast)
      }
    }
    return (axes(ofSlow, slow), axes(ofFast, fast))
  }

  /// `sum += xᵀ · x`.
  private static func add(
    _ x: [Double], rows: Int, columns: Int, to sum: inout [Double]
  ) {
    x.withUnsafeBufferPointer { x in
      sum.withUnsafeMutableBufferPointer { sum in
        for row in 0..<rows {
          for a in 0..<columns {
            let value = x[row * columns + a]
            for b in 0..<columns { sum[a * columns + b] += value * x[row * columns + b] }
          }
        }
      }
    }
  }

  private static func axes(_ moments: [Double], _ size: Int) -> FloatMatrix {
    let (values, vectors) = SymmetricEigen.solve(moments, size: size)
    let order = values.indices.sorted { (values[$1], $0) < (values[$0], $1) }
    let result = FloatMatrix(rows: size, columns: size)
    for (column, index) in order.enumerated() {
      let vector = (0..<size).map { vectors[$0 * size + index] }
      let largest = vector.max { abs($0) < abs($1) } ?? 1
      for row in 0..<size {
        result[row, column] = Float(largest < 0 ? -vector[row] : vector[row])
      }
    }
    return result
  }
}
