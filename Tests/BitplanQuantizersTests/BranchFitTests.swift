import BitplanCore
import BitplanKernels
import BitplanQuantizers
import Testing

/// Side branches taken out of weights before codes are sought for the rest.
struct BranchFitTests {
  static let pool = ThreadPool(threadCount: 2)
  static let int3 = WeightFormat(identifier: "int3_g64")!

  static func energy(_ m: FloatMatrix) -> Double {
    m.values.reduce(0.0) { $0 + Double($1) * Double($1) }
  }

  static func rounded(_ weights: FloatMatrix) -> FloatMatrix {
    FloatMatrix(
      rows: weights.rows, columns: weights.columns,
      values: RoundToNearest(pool: pool).quantize(weights, as: int3).dequantized())
  }

  static func difference(_ a: FloatMatrix, _ b: FloatMatrix) -> FloatMatrix {
    FloatMatrix(rows: a.rows, columns: a.columns, values: zip(a.values, b.values).map { $0 - $1 })
  }

  @Test("weights of low rank are taken away whole but for the rounding of the factors")
  func recoversLowRank() {
    var generator = SeededGenerator(state: 2)
    let (a, b) = (ScalingTests.matrix(40, 3, &generator), ScalingTests.matrix(3, 96, &generator))
    let weights = FloatMatrix(rows: 40, columns: 96)
    for row in 0..<40 {
      for column in 0..<96 {
        weights[row, column] = (0..<3).reduce(0) { $0 + a[row, $1] * b[$1, column] }
      }
    }
    let fit = BranchFit(.lowRank(3), weights, meanSquaredInput: nil)
    // The right factor errs by half a step of 8 bits at most, a 254th of a row's largest value, which
    // is below four times its root mean square here.
    #expect(Self.energy(fit.rest) < (4.0 / 254) * (4.0 / 254) * Self.energy(weights))
    #expect(fit.packed.bytes.count == SideBranch.lowRank(3).storedBytes(fit.packed.shape))
  }

  /// Squared singular values, the largest first: eigenvalues of the Gram matrix by power iteration
  /// with deflation, in double precision.
  static func squaredSingularValues(_ m: FloatMatrix, count: Int) -> [Double] {
    var gram = (0..<m.rows).map { i in
      (0..<m.rows).map { j in
        (0..<m.columns).reduce(0.0) { $0 + Double(m[i, $1]) * Double(m[j, $1]) }
      }
    }
    return (0..<count).map { _ in
      var vector = (0..<m.rows).map { 1 + Double($0 % 7) / 10 }
      var value = 0.0
      for _ in 0..<3000 {
        let image = gram.map { line in zip(line, vector).reduce(0) { $0 + $1.0 * $1.1 } }
        value = image.reduce(0) { $0 + $1 * $1 }.squareRoot()
        vector = image.map { $0 / value }
      }
      for i in 0..<m.rows { for j in 0..<m.rows { gram[i][j] -= value * vector[i] * vector[j] } }
      return value
    }
  }

  @Test("no other branch of the rank leaves less: the tail of the singular values is what is left")
  func isOptimal() {
    var generator = SeededGenerator(state: 8)
    let weights = ScalingTests.matrix(24, 64, &generator) { $0 % 9 == 0 ? 4 : 1 }
    let fit = BranchFit(.lowRank(5), weights, meanSquaredInput: nil)
    let whole = Self.energy(weights)
    let tail = whole - Self.squaredSingularValues(weights, count: 5).reduce(0, +)
    let left = Self.energy(fit.rest)
    #expect(left >= tail * (1 - 1e-3) && left <= tail * 1.02 && left < 0.9 * whole)
  }

  @Test("groups whose inputs are large come first; the same weights give the same branch")
  func usesInputs() {
    var generator = SeededGenerator(state: 4)
    let weights = ScalingTests.matrix(32, 256, &generator)
    var squares = [Float](repeating: 1, count: 256)
    for index in 128..<256 { squares[index] = 100 }
    func left(_ fit: BranchFit, _ columns: Range<Int>) -> Double {
      (0..<32).reduce(0.0) { sum, row in
        columns.reduce(sum) { $0 + Double(fit.rest[row, $1]) * Double(fit.rest[row, $1]) }
      }
    }
    let plain = BranchFit(.lowRank(8), weights, meanSquaredInput: nil)
    let aware = BranchFit(.lowRank(8), weights, meanSquaredInput: squares)
    #expect(left(aware, 128..<256) < 0.95 * left(plain, 128..<256))
    #expect(
      BranchFit(.lowRank(8), weights, meanSquaredInput: squares).rest.values == aware.rest.values)
    let zero = BranchFit(
      .lowRank(2), FloatMatrix(rows: 10, columns: 32), meanSquaredInput: nil)
    #expect(zero.rest.values.allSatisfy { $0 == 0 })
  }

  @Test("planted outliers are found, and the grid of the rest narrows")
  func findsOutliers() {
    var generator = SeededGenerator(state: 5)
    let weights = ScalingTests.matrix(16, 128, &generator)
    let planted = (0..<20).map { (row: $0 * 7 % 16, column: ($0 * 37 + 5) % 128) }
    for (index, place) in planted.enumerated() {
      weights[place.row, place.column] = index % 2 == 0 ? 25.3 : -31.7
    }
    // 98 ten thousandths of 2048 weights are 20.
    let fit = BranchFit(.outliers(basisPoints: 98), weights, meanSquaredInput: nil)
    let branch = fit.packed.dequantized()
    let found = branch.values.indices.filter { branch.values[$0] != 0 }
    #expect(Set(found) == Set(planted.map { $0.row * 128 + $0.column }))
    #expect(fit.rest.values.allSatisfy { abs($0) < 6 })
    let plain = Self.difference(weights, Self.rounded(weights))
    let better = Self.difference(fit.rest, Self.rounded(fit.rest))
    #expect(Self.energy(better) < 0.1 * Self.energy(plain))
    // In an outlier's place codes meet the mean of its group, plus what bfloat16 rounds off.
    for place in planted {
      let group = (0..<128).filter { column in
        !planted.contains { $0.row == place.row && $0.column == column }
      }
      let mean = group.reduce(Float(0)) { $0 + weights[place.row, $1] } / Float(group.count)
      #expect(abs(fit.rest[place.row, place.column] - mean) <= 32.0 / 256)
    }
  }

  @Test("importance decides between equal deviations, the earlier place between equal scores")
  func usesImportance() {
    let weights = FloatMatrix(rows: 1, columns: 64)
    weights[0, 3] = 5
    weights[0, 40] = -5
    var squares = [Float](repeating: 1, count: 64)
    func taken(_ squares: [Float]?) -> [Int] {
      let values = BranchFit(.outliers(basisPoints: 156), weights, meanSquaredInput: squares)
        .packed.dequantized().values
      return values.indices.filter { values[$0] != 0 }
    }
    #expect(taken(nil) == [3])
    squares[40] = 9
    #expect(taken(squares) == [40])
  }

  @Test(
    "an operator is packed with its branch, and codes make up for the rest",
    arguments: [
      SideBranch.lowRank(6), .outliers(basisPoints: 200),
    ])
  func packs(_ branch: SideBranch) throws {
    var generator = SeededGenerator(state: 9)
    let weights = ScalingTests.matrix(40, 192, &generator) { $0 % 11 == 0 ? 6 : 1 }
    let statistics = InputStatistics(meanSquares: nil, curvature: nil)
    let quantizer = OperatorQuantizer(.roundToNearest, pool: Self.pool)
    var assignment = Plan.Assignment(
      name: "a", shape: MatrixShape(outputFeatures: 40, inputFeatures: 192),
      segments: [
        .init(format: Self.int3, rows: [0..<10, 20..<40]), .init(format: .f16, rows: [10..<20]),
      ], activations: .int16)
    let plain = try quantizer.packed(weights, as: assignment, statistics)
    assignment.branch = branch
    let packed = try quantizer.packed(weights, as: assignment, statistics)
    #expect(plain.branch == nil && packed.branch?.branch == branch && packed.activations == .int16)
    let (before, after) = (
      Self.energy(Self.difference(weights, plain.dequantized())),
      Self.energy(Self.difference(weights, packed.dequantized()))
    )
    #expect(after < 0.8 * before)
  }
}
