import BitplanCore
import BitplanKernels
import BitplanQuantizers
import Testing

/// Low-rank branches and sparse outliers: how much error they take away for their bytes.
struct SideBranchTests {
  static let pool = ThreadPool(threadCount: 2)
  static let int3 = WeightFormat(identifier: "int3_g64")!

  static func rounded(_ weights: FloatMatrix, _ format: WeightFormat) -> FloatMatrix {
    FloatMatrix(
      rows: weights.rows, columns: weights.columns,
      values: RoundToNearest(pool: pool).quantize(weights, as: format).dequantized())
  }

  static func difference(_ a: FloatMatrix, _ b: FloatMatrix) -> FloatMatrix {
    FloatMatrix(rows: a.rows, columns: a.columns, values: zip(a.values, b.values).map { $0 - $1 })
  }

  /// `Σ importance · E[(M · x)²]` in double precision.
  static func energy(_ m: FloatMatrix, _ samples: FloatMatrix, _ importance: [Double]) -> Double {
    var total = 0.0
    for row in 0..<m.rows {
      for sample in 0..<samples.rows {
        let value = (0..<m.columns).reduce(0.0) {
          $0 + Double(m[row, $1]) * Double(samples[sample, $1])
        }
        total += importance[row] * value * value / Double(samples.rows)
      }
    }
    return total
  }

  @Test("a residual of low rank is taken away whole")
  func recoversLowRank() {
    var generator = SeededGenerator(state: 2)
    let (a, b) = (ScalingTests.matrix(40, 3, &generator), ScalingTests.matrix(3, 96, &generator))
    let residual = FloatMatrix(rows: 40, columns: 96)
    for row in 0..<40 {
      for column in 0..<96 {
        residual[row, column] = (0..<3).reduce(0) { $0 + a[row, $1] * b[$1, column] }
      }
    }
    let samples = ScalingTests.matrix(120, 96, &generator)
    let ones = [Double](repeating: 1, count: 40)
    let branch = LowRankBranch(residual: residual, rank: 3, samples: samples)
    #expect(branch.rank == 3 && branch.storedBytes == 2 * 3 * (40 + 96))
    let left = Self.energy(Self.difference(residual, branch.product), samples, ones)
    // What is left is the rounding of the factors to binary16: 2⁻¹¹ each, some of it averaged.
    #expect(left < 4e-7 * Self.energy(residual, samples, ones))
  }

  /// Squared singular values of `G^½ · R · Xᵀ ÷ √samples`, the largest first: the eigenvalues of its
  /// Gram matrix by power iteration with deflation, in double precision.
  static func squaredSingularValues(
    _ residual: FloatMatrix, _ samples: FloatMatrix, _ importance: [Double], count: Int
  ) -> [Double] {
    let rows = residual.rows
    var errors = [[Double]](repeating: [Double](repeating: 0, count: samples.rows), count: rows)
    for row in 0..<rows {
      for sample in 0..<samples.rows {
        errors[row][sample] =
          importance[row].squareRoot()
          * (0..<residual.columns).reduce(0.0) {
            $0 + Double(residual[row, $1]) * Double(samples[sample, $1])
          } / Double(samples.rows).squareRoot()
      }
    }
    var gram = (0..<rows).map { i in
      (0..<rows).map { j in zip(errors[i], errors[j]).reduce(0) { $0 + $1.0 * $1.1 } }
    }
    return (0..<count).map { _ in
      var vector = (0..<rows).map { 1 + Double($0 % 7) / 10 }
      var value = 0.0
      for _ in 0..<3000 {
        let image = gram.map { line in zip(line, vector).reduce(0) { $0 + $1.0 * $1.1 } }
        value = image.reduce(0) { $0 + $1 * $1 }.squareRoot()
        vector = image.map { $0 / value }
      }
      for i in 0..<rows { for j in 0..<rows { gram[i][j] -= value * vector[i] * vector[j] } }
      return value
    }
  }

  @Test("no other branch of the rank leaves less: the tail of the singular values is what is left")
  func isOptimal() {
    var generator = SeededGenerator(state: 8)
    let weights = ScalingTests.matrix(24, 64, &generator) { $0 % 9 == 0 ? 4 : 1 }
    let residual = Self.difference(weights, Self.rounded(weights, Self.int3))
    let samples = ScalingTests.matrix(80, 64, &generator) { 1 / Float(1 + $0 % 5) }
    let importance = (0..<24).map { Double(1 + $0 % 4) }
    let branch = LowRankBranch(
      residual: residual, rank: 5, samples: samples, importance: importance)
    let left = Self.energy(Self.difference(residual, branch.product), samples, importance)
    let whole = Self.energy(residual, samples, importance)
    let largest = Self.squaredSingularValues(residual, samples, importance, count: 5)
    let tail = whole - largest.reduce(0, +)
    #expect(left >= tail * (1 - 1e-3))
    #expect(left <= tail * 1.02)
    #expect(left < 0.9 * whole)
  }

  @Test("the same seed gives the same branch, and ranks are cut to what there is")
  func isDeterministic() {
    var generator = SeededGenerator(state: 4)
    let residual = ScalingTests.matrix(10, 32, &generator)
    let samples = ScalingTests.matrix(6, 32, &generator)
    let a = LowRankBranch(residual: residual, rank: 20, samples: samples)
    let b = LowRankBranch(residual: residual, rank: 20, samples: samples)
    #expect(a.rank == 6 && a.left.values == b.left.values && a.right.values == b.right.values)
    let zero = LowRankBranch(
      residual: FloatMatrix(rows: 10, columns: 32), rank: 2, samples: samples)
    #expect(zero.product.values.allSatisfy { $0 == 0 })
  }

  @Test("planted outliers are found, restored to binary16, and narrow the grid of the rest")
  func findsOutliers() {
    var generator = SeededGenerator(state: 5)
    let weights = ScalingTests.matrix(16, 128, &generator)
    let planted = (0..<20).map { (row: $0 * 7 % 16, column: ($0 * 37 + 5) % 128) }
    for (index, place) in planted.enumerated() {
      weights[place.row, place.column] = index % 2 == 0 ? 25.3 : -31.7
    }
    let outliers = SparseOutliers(of: weights, share: 20.0 / (16 * 128), groupSize: 64)
    #expect(outliers.count == 20)
    let found = (0..<16).flatMap { row in
      (Int(outliers.rowStarts[row])..<Int(outliers.rowStarts[row + 1])).map {
        row * 128 + Int(outliers.columns[$0])
      }
    }
    #expect(Set(found) == Set(planted.map { $0.row * 128 + $0.column }))
    #expect(outliers.storedBytes == 4 * 17 + 20 * 4)

    let plain = Self.difference(weights, Self.rounded(weights, Self.int3))
    let restored = Self.rounded(outliers.removed(from: weights, groupSize: 64), Self.int3)
    outliers.restore(in: restored)
    let better = Self.difference(weights, restored)
    let energy = { (m: FloatMatrix) in m.values.reduce(0.0) { $0 + Double($1) * Double($1) } }
    #expect(energy(better) < 0.1 * energy(plain))
    for place in planted { #expect(abs(better[place.row, place.column]) <= 31.7 / 2048) }
  }

  @Test("importance decides between equal deviations; a share of 0 takes nothing")
  func usesImportance() {
    let weights = FloatMatrix(rows: 1, columns: 64)
    weights[0, 3] = 5
    weights[0, 40] = -5
    var squares = [Float](repeating: 1, count: 64)
    squares[40] = 9
    let one = SparseOutliers(
      of: weights, share: 1.0 / 64, groupSize: 64, meanSquaredInput: squares)
    #expect(one.columns == [40])
    let none = SparseOutliers(of: weights, share: 0, groupSize: 64)
    #expect(none.count == 0 && none.removed(from: weights, groupSize: 64).values == weights.values)
  }
}
