import BitplanCheckpoint
import BitplanCore
import BitplanKernels
import BitplanQuantizers
import BitplanTestSupport
import Foundation
import Testing

struct ErrorFeedbackTests {
  static let pool = ThreadPool(threadCount: 2)
  static let formats = ["int2_g64", "int3_g32", "int4_g128", "int6_g64", "int8_g128s"]
    .compactMap(WeightFormat.init(identifier:))

  /// `E[x xᵀ]` of correlated inputs, some features much louder than others.
  static func products(_ size: Int, seed: UInt64) -> FloatMatrix {
    var generator = SeededGenerator(state: seed)
    let inputs = (0..<3 * size).map { _ in
      let shared = Float.random(in: -1...1, using: &generator)
      return (0..<size).map {
        (shared + Float.random(in: -1...1, using: &generator)) * ($0 % 7 == 0 ? 4 : 1)
      }
    }
    let result = FloatMatrix(rows: size, columns: size)
    for x in inputs {
      for i in 0..<size { for j in 0..<size { result[i, j] += x[i] * x[j] } }
    }
    for i in 0..<size { for j in 0..<size { result[i, j] /= Float(inputs.count) } }
    return result
  }

  static func curvature(_ products: FloatMatrix, pool: ThreadPool = pool) -> InputCurvature {
    let copy = FloatMatrix(
      rows: products.rows, columns: products.columns, values: products.values)
    return InputCurvature(takingOver: copy, pool: pool)
  }

  /// `e H eᵀ` of every row with `H` damped by a hundredth of its mean diagonal, in `Double`.
  static func objective(
    _ weights: FloatMatrix, _ quantized: [Float], _ products: FloatMatrix
  ) -> [Double] {
    let size = weights.columns
    let h = products.values.map(Double.init)
    let damping = 0.01 * (0..<size).reduce(0) { $0 + h[$1 * size + $1] } / Double(size)
    return (0..<weights.rows).map { row in
      let e = (0..<size).map { Double(weights[row, $0]) - Double(quantized[row * size + $0]) }
      var sum = 0.0
      for i in 0..<size {
        for j in 0..<size { sum += e[i] * e[j] * (h[i * size + j] + (i == j ? damping : 0)) }
      }
      return sum
    }
  }

  static func quantize(
    _ weights: FloatMatrix, _ format: WeightFormat, _ products: FloatMatrix, refinements: Int,
    rows: [Range<Int>]? = nil, pool: ThreadPool = pool
  ) -> QuantizedWeights {
    ErrorFeedback(pool: pool, refinements: refinements).quantize(
      weights, rows: rows ?? [0..<weights.rows], as: format,
      curvature: Self.curvature(products, pool: pool),
      meanSquaredInput: (0..<weights.columns).map { products[$0, $0] })
  }

  @Test("GPTQ gives PyTorch's codes on the same Hessian and grids", arguments: [2, 3, 4, 6])
  func agreesWithPyTorch(_ bits: Int) throws {
    let golden = try Checkpoint(
      path: Fixtures.folder.appending(path: "golden/gptq.safetensors").path)
    let (rows, columns, groups) = (48, 192, 3)
    let weights = FloatMatrix(
      rows: rows, columns: columns, values: try golden.floats("weights", shape: [rows, columns]))
    let hessian = FloatMatrix(
      rows: columns, columns: columns,
      values: try golden.floats("hessian", shape: [columns, columns]))
    let scales = try golden.floats("scales\(bits)", shape: [rows, groups])
    let zeros = try golden.floats("zeros\(bits)", shape: [rows, groups])
    let expected = try golden.floats("codes\(bits)", shape: [rows, columns])
    let format = try #require(WeightFormat(identifier: "int\(bits)_g64"))
    let quantized = ErrorFeedback(pool: Self.pool, refinements: 0).quantize(
      weights, rows: [0..<rows], as: format, curvature: Self.curvature(hessian)
    ) { row, range, _ in
      let place = row * groups + range.lowerBound / 64
      return GroupGrid(scale: scales[place], zeroPoint: zeros[place], format: format)
    }
    guard case .integer(let codes, _, _) = quantized.payload else {
      Issue.record("an integer format gave float16 weights")
      return
    }
    let equal = zip(codes, expected).count { Float($0) == $1 }
    #expect(Double(equal) >= 0.999 * Double(expected.count), "\(equal) of \(expected.count)")
  }

  @Test("feedback beats rounding, and refinement never makes a row worse", arguments: formats)
  func objectiveFalls(_ format: WeightFormat) {
    let weights = RoundToNearestTests.random(70, 160, seed: 3)
    let products = Self.products(160, seed: 4)
    let nearest = RoundToNearest(pool: Self.pool).quantize(
      weights, as: format, meanSquaredInput: (0..<160).map { products[$0, $0] })
    let rounded = Self.objective(weights, nearest.dequantized(), products)
    let fed = Self.objective(
      weights, Self.quantize(weights, format, products, refinements: 0).dequantized(), products)
    let refined = Self.objective(
      weights, Self.quantize(weights, format, products, refinements: 2).dequantized(), products)
    #expect(fed.reduce(0, +) < 0.9 * rounded.reduce(0, +))
    #expect(refined.reduce(0, +) < 0.99 * fed.reduce(0, +))
    // Float sums may err in the last digits of a row.
    for row in 0..<70 { #expect(refined[row] <= fed[row] * 1.001) }
  }

  @Test("after refinement no single code has a better value")
  func locallyOptimal() throws {
    let format = try #require(WeightFormat(identifier: "int3_g32"))
    let weights = RoundToNearestTests.random(3, 64, seed: 5)
    let products = Self.products(64, seed: 6)
    let quantized = Self.quantize(weights, format, products, refinements: 6)
    guard case .integer(let codes, let scales, let zeros) = quantized.payload else {
      Issue.record("an integer format gave float16 weights")
      return
    }
    let values = quantized.dequantized()
    let base = Self.objective(weights, values, products)
    var better = 0
    for row in 0..<3 {
      for column in 0..<64 {
        let group = row * 2 + column / 32
        for code in 0..<8 where code != Int(codes[row * 64 + column]) {
          var other = values
          other[row * 64 + column] =
            Float(Float16(bitPattern: scales[group])) * (Float(code) - Float(zeros[group]))
          if Self.objective(weights, other, products)[row] < base[row] * (1 - 1e-5) { better += 1 }
        }
      }
    }
    // One sweep after the last change of scales settles all but a few codes.
    #expect(better <= 4, "\(better) of 1344 changes would help")
  }

  @Test("a row has the same codes in any segment and at any thread count", arguments: formats)
  func rowsAreIndependent(_ format: WeightFormat) {
    let weights = RoundToNearestTests.random(150, 96, seed: 7)
    let products = Self.products(96, seed: 8)
    let whole = Self.quantize(weights, format, products, refinements: 1)
    let threads = Self.quantize(
      weights, format, products, refinements: 1, pool: ThreadPool(threadCount: 3))
    #expect(whole.dequantized() == threads.dequantized())
    let rows = [5..<9, 80..<131, 149..<150]
    let segment = Self.quantize(weights, format, products, refinements: 1, rows: rows).dequantized()
    let all = whole.dequantized()
    let picked = rows.flatMap { $0.flatMap { all[$0 * 96..<($0 + 1) * 96] } }
    #expect(segment == picked)
  }

  @Test("inputs that were never seen keep nearest codes, and nothing else breaks")
  func silentInputs() throws {
    let format = try #require(WeightFormat(identifier: "int4_g32"))
    let weights = RoundToNearestTests.random(20, 64, seed: 9)
    let silent = FloatMatrix(rows: 64, columns: 64)
    let result = Self.quantize(weights, format, silent, refinements: 0).dequantized()
    let nearest = RoundToNearest(pool: Self.pool).quantize(weights, as: format).dequantized()
    #expect(result == nearest)
    // One loud feature alone: the matrix has rank one.
    silent[3, 3] = 100
    let loud = Self.quantize(weights, format, silent, refinements: 2).dequantized()
    #expect(loud.allSatisfy { $0.isFinite })
  }

  @Test("the errors of a quantized operator are those of its inputs")
  func meanSquaredErrors() {
    let weights = RoundToNearestTests.random(9, 40, seed: 10)
    let other = RoundToNearestTests.random(9, 40, seed: 11)
    let products = Self.products(40, seed: 12)
    let errors = Self.curvature(products).meanSquaredErrors(
      original: weights, quantized: other, pool: Self.pool)
    for row in 0..<9 {
      var sum = 0.0
      for i in 0..<40 {
        for j in 0..<40 {
          sum +=
            Double(weights[row, i] - other[row, i]) * Double(weights[row, j] - other[row, j])
            * Double(products[i, j])
        }
      }
      #expect(abs(errors[row] - sum) <= 1e-4 * sum)
    }
  }

  @Test("inputs wider than a tile of the factor, at any thread count")
  func wideInputs() throws {
    let format = try #require(WeightFormat(identifier: "int3_g128"))
    let weights = RoundToNearestTests.random(6, 1100, seed: 13)
    // Neighbours are alike; every feature has a part of its own.
    let products = FloatMatrix(rows: 1100, columns: 1100)
    for i in 0..<1100 {
      for j in max(0, i - 30)..<min(1100, i + 31) {
        products[i, j] = Float(31 - abs(i - j)) / 31 + (i == j ? 0.05 : 0)
      }
    }
    let one = Self.quantize(
      weights, format, products, refinements: 1, pool: ThreadPool(threadCount: 1)
    ).dequantized()
    let three = Self.quantize(
      weights, format, products, refinements: 1, pool: ThreadPool(threadCount: 3)
    ).dequantized()
    #expect(one == three)
    let nearest = RoundToNearest(pool: Self.pool).quantize(weights, as: format).dequantized()
    let fed = Self.objective(weights, one, products).reduce(0, +)
    #expect(fed < 0.7 * Self.objective(weights, nearest, products).reduce(0, +))
  }
}
