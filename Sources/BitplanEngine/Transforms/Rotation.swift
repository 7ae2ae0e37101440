import BitplanCore
public import BitplanKernels

/// An orthogonal matrix that mixes features and multiplies fast, since it is a Kronecker product: a row
/// of features is seen as `[slowSize, fastSize]`, and both indices are turned by a matrix of their own.
///
/// A seeded one mixes all features evenly: `R = S · (H ⊗ Q)`: random signs, then a Hadamard matrix of
/// the largest power of two that divides the size, then a random orthogonal matrix of the odd rest
/// (QuaRot, Ashkboos et al. 2024, arXiv:2404.00456, uses the same shape with tabulated Hadamard matrices
/// of some odd multiples; a random one exists for all). The same size and seed give the same matrix on
/// every machine.
///
/// The last, small factors of `H` are multiplied out with `Q` into one dense matrix for the fast index:
/// runs are then long enough for vectors. With both matrices given, `R = P₁ ⊗ P₂`.
public struct Rotation: Sendable {
  /// Features.
  public let size: Int
  /// Runs of features; a power of two where a Hadamard matrix mixes them.
  let slowSize: Int
  /// Features of a run.
  let fastSize: Int
  /// `S`; all ones where both matrices are given.
  private let signs: [Double]
  /// `[slowSize, slowSize]`, orthogonal; `nil` for a Hadamard matrix.
  private let slow: [Double]?
  /// `[fastSize, fastSize]`, orthogonal.
  private let fast: [Double]
  /// The same numbers as `Float`, for tokens.
  let tokenForm: TokenForm

  /// Features of a run, at least, where there are as many.
  private static let shortestRun = 16

  /// Makes the rotation of `size` features, which must be positive.
  public init(size: Int, seed: UInt64) {
    precondition(size > 0, "a rotation has at least one feature")
    self.size = size
    var generator = SeededGenerator(state: seed)
    signs = (0..<size).map { _ in generator.next() & 1 == 0 ? 1 : -1 }
    let oddSize = size / (size & -size)
    let oddPart = Self.orthogonal(oddSize, &generator)
    fastSize = Self.fastSize(size)
    slowSize = size / fastSize
    slow = nil
    fast = Self.hadamard(fastSize / oddSize, times: oddPart, size: oddSize)
    tokenForm = TokenForm(signs: signs, slowSize: slowSize, fast: fast, fastSize: fastSize)
  }

  /// `P₁ ⊗ P₂` of two orthogonal matrices: a row `X [slowSize, fastSize]` becomes `P₁ᵀ · X · P₂`.
  ///
  /// - Parameters:
  ///   - slow: `P₁`, `[slowSize, slowSize]`.
  ///   - fast: `P₂`, `[fastSize, fastSize]`.
  public init(slow: FloatMatrix, fast: FloatMatrix) {
    precondition(
      slow.rows == slow.columns && fast.rows == fast.columns && slow.rows > 0 && fast.rows > 0,
      "both matrices of a Kronecker product are square here")
    (slowSize, fastSize) = (slow.rows, fast.rows)
    size = slow.rows * fast.rows
    signs = [Double](repeating: 1, count: size)
    self.slow = slow.values.map { Double($0) }
    self.fast = fast.values.map { Double($0) }
    tokenForm = TokenForm(slow: slow, fast: fast)
  }

  /// The matrices of a rotation that was made of two; `nil` for a seeded one.
  public var matrices: (slow: FloatMatrix, fast: FloatMatrix)? {
    tokenForm.slow.map { ($0, tokenForm.fast) }
  }

  /// How far both matrices of ``matrices`` are from orthogonal: the largest magnitude in
  /// `P · Pᵀ − I`, NaN where an element is not finite.
  var deviationFromOrthogonal: Double {
    func deviation(_ p: [Double], _ n: Int) -> Double {
      var largest = 0.0
      for i in 0..<n {
        for j in i..<n {
          let product = (0..<n).reduce(0) { $0 + p[i * n + $1] * p[j * n + $1] }
          let distance = abs(product - (i == j ? 1 : 0))
          guard distance.isFinite else { return .nan }
          largest = max(largest, distance)
        }
      }
      return largest
    }
    let (ofSlow, ofFast) = (slow.map { deviation($0, slowSize) } ?? 0, deviation(fast, fastSize))
    return ofSlow.isNaN || ofFast.isNaN ? .nan : max(ofSlow, ofFast)
  }

  /// Multiply-adds that turning takes for every feature, beside the additions of the Hadamard matrix.
  static func productsPerFeature(size: Int) -> Int { fastSize(size) }

  /// The odd part of `size` times the least power of two that makes a run long enough.
  private static func fastSize(_ size: Int) -> Int {
    var result = size / (size & -size)
    while result < shortestRun, result < size { result *= 2 }
    return result
  }

  /// `x ← x · R` for one row of `size` values.
  ///
  /// - Complexity: O(`size` · (log `slowSize` + `fastSize`)), with two given matrices
  ///   O(`size` · (`slowSize` + `fastSize`)).
  public func apply(to x: inout [Double]) {
    precondition(x.count == size, "a rotation turns as many values as it has features")
    for index in x.indices { x[index] *= signs[index] }
    x.withUnsafeMutableBufferPointer { x in
      if let slow { multiply(x, alongSlow: slow) } else { hadamard(x) }
      multiplyFast(x)
    }
  }

  /// Walsh–Hadamard transform over the slow index, scaled to length-preserving.
  private func hadamard(_ x: UnsafeMutableBufferPointer<Double>) {
    var half = fastSize
    while half < size {
      for begin in stride(from: 0, to: size, by: 2 * half) {
        for index in begin..<begin + half {
          let (a, b) = (x[index], x[index + half])
          x[index] = a + b
          x[index + half] = a - b
        }
      }
      half *= 2
    }
    let scale = 1 / Double(slowSize).squareRoot()
    for index in x.indices { x[index] *= scale }
  }

  /// A dense matrix over the slow index: `X ← Pᵀ · X`.
  private func multiply(_ x: UnsafeMutableBufferPointer<Double>, alongSlow p: [Double]) {
    let (n, run) = (slowSize, fastSize)
    let old = Array(x)
    x.update(repeating: 0)
    for from in 0..<n {
      for to in 0..<n {
        let factor = p[from * n + to]
        for index in 0..<run { x[to * run + index] += factor * old[from * run + index] }
      }
    }
  }

  /// The dense matrix over the fast index.
  private func multiplyFast(_ x: UnsafeMutableBufferPointer<Double>) {
    let n = fastSize
    fast.withUnsafeBufferPointer { fast in
      withUnsafeTemporaryAllocation(of: Double.self, capacity: n) { sums in
        for begin in stride(from: 0, to: size, by: n) {
          sums.initialize(repeating: 0)
          for row in 0..<n {
            let value = x[begin + row]
            for column in 0..<n { sums[column] += value * fast[row * n + column] }
          }
          for column in 0..<n { x[begin + column] = sums[column] }
        }
      }
    }
  }

  /// `H ⊗ Q` as a dense matrix, with `H` of size `count`, a power of two.
  private static func hadamard(_ count: Int, times q: [Double], size: Int) -> [Double] {
    let (whole, scale) = (count * size, 1 / Double(count).squareRoot())
    return (0..<whole * whole).map { place in
      let (row, column) = place.quotientAndRemainder(dividingBy: whole)
      // Sylvester's form: the sign is the parity of the bits that both indices have.
      let sign = ((row / size) & (column / size)).nonzeroBitCount & 1 == 0 ? scale : -scale
      return sign * q[row % size * size + column % size]
    }
  }

  /// A random orthogonal matrix, by Gram–Schmidt (twice, for orthogonality to the last bits).
  private static func orthogonal(_ n: Int, _ generator: inout SeededGenerator) -> [Double] {
    guard n > 1 else { return [1] }
    var rows: [[Double]] = []
    while rows.count < n {
      // Sums of uniform numbers: close enough to normal for directions, and the same everywhere.
      var row = (0..<n).map { _ in
        (0..<12).reduce(-6.0) { sum, _ in sum + Double.random(in: 0..<1, using: &generator) }
      }
      for _ in 0..<2 {
        for other in rows {
          let product = zip(row, other).reduce(0) { $0 + $1.0 * $1.1 }
          for index in row.indices { row[index] -= product * other[index] }
        }
      }
      let length = row.reduce(0) { $0 + $1 * $1 }.squareRoot()
      guard length > 1e-3 else { continue }
      rows.append(row.map { $0 / length })
    }
    return rows.flatMap { $0 }
  }

  // MARK: Matrices

  /// `M · R`: every row turned, in consecutive pieces of ``size`` columns.
  ///
  /// - Parameter matrix: `[rows, pieces · size]`.
  public func turningRows(of matrix: FloatMatrix, _ pool: ThreadPool) -> FloatMatrix {
    precondition(matrix.columns % size == 0, "rows must be whole pieces of the rotation's size")
    let result = FloatMatrix(rows: matrix.rows, columns: matrix.columns)
    let pieces = matrix.columns / size
    RowWork.forEach(matrix.rows, elementsPerRow: 10 * matrix.columns, pool) { part in
      var x = [Double](repeating: 0, count: size)
      withAddresses(matrix, result) { source, target in
        for piece in part.lowerBound * pieces..<part.upperBound * pieces {
          let begin = piece * size
          for index in 0..<size { x[index] = Double(source[begin + index]) }
          apply(to: &x)
          for index in 0..<size { target[begin + index] = Float(x[index]) }
        }
      }
    }
    return result
  }

  /// `Rᵀ · M`: every column turned, in consecutive pieces of ``size`` rows.
  ///
  /// - Parameter matrix: `[pieces · size, columns]`.
  public func turningColumns(of matrix: FloatMatrix, _ pool: ThreadPool) -> FloatMatrix {
    precondition(matrix.rows % size == 0, "columns must be whole pieces of the rotation's size")
    let result = FloatMatrix(rows: matrix.rows, columns: matrix.columns)
    let (columns, pieces) = (matrix.columns, matrix.rows / size)
    RowWork.forEach(columns, elementsPerRow: 10 * matrix.rows, pool) { part in
      var x = [Double](repeating: 0, count: size)
      withAddresses(matrix, result) { source, target in
        for column in part {
          for piece in 0..<pieces {
            let begin = piece * size
            for index in 0..<size { x[index] = Double(source[(begin + index) * columns + column]) }
            apply(to: &x)
            for index in 0..<size { target[(begin + index) * columns + column] = Float(x[index]) }
          }
        }
      }
    }
    return result
  }
}
