import BitplanCore
import BitplanKernels
import BitplanQuantizers
import Testing

struct RoundToNearestTests {
  static let pool = ThreadPool(threadCount: 2)
  static let integerFormats = WeightFormat.all.filter { $0.coding != .float16 }

  static func random(_ rows: Int, _ columns: Int, seed: UInt64) -> FloatMatrix {
    var generator = SeededGenerator(state: seed)
    return FloatMatrix(
      rows: rows, columns: columns,
      values: (0..<rows * columns).map { _ in
        // Sum of uniforms: bell-shaped, as weights are.
        (0..<4).reduce(Float(0)) { sum, _ in sum + Float.random(in: -0.05...0.05, using: &generator)
        }
      })
  }

  static func squaredError(_ a: FloatMatrix, _ b: [Float], _ h: [Float]? = nil) -> Double {
    var sum = 0.0
    for (index, value) in a.values.enumerated() {
      let difference = Double(value - b[index])
      sum += difference * difference * Double(h?[index % a.columns] ?? 1)
    }
    return sum
  }

  /// Plain min-max rounding without any search, written independently of the product.
  static func minMax(_ weights: FloatMatrix, _ format: WeightFormat) -> [Float] {
    var result = [Float](repeating: 0, count: weights.rows * weights.columns)
    let top = Float((1 << format.bitWidth) - 1)
    for row in 0..<weights.rows {
      for begin in stride(from: 0, to: weights.columns, by: format.groupSize) {
        let columns = begin..<min(begin + format.groupSize, weights.columns)
        let values = columns.map { weights[row, $0] }
        let (low, high) = (min(0, values.min()!), max(0, values.max()!))
        let scale = Float(Float16((high - low) / top))
        let zero = (-low / scale).rounded()
        for column in columns {
          let code = min(max((weights[row, column] / scale + zero).rounded(), 0), top)
          result[row * weights.columns + column] = scale * (code - zero)
        }
      }
    }
    return result
  }

  @Test("codes stay below 2^bitWidth and shapes agree", arguments: integerFormats)
  func codesInRange(_ format: WeightFormat) throws {
    let weights = Self.random(19, 200, seed: 1)
    let quantized = RoundToNearest(pool: Self.pool).quantize(weights, as: format)
    let codes: [UInt8]
    var zeros: [UInt8] = []
    switch quantized.payload {
    case .integer(let all, _, let points): (codes, zeros) = (all, points)
    case .blockFloat(let all, _), .twoLevel(let all, _, _), .binary(let all, _, _, _):
      codes = all
    case .float16:
      Issue.record("an integer format gave float16 weights")
      return
    }
    #expect(codes.allSatisfy { Int($0) < 1 << format.bitWidth })
    #expect(zeros.allSatisfy { Int($0) < 1 << format.bitWidth })
    #expect(codes.max()! > 0)
    #expect(quantized.dequantized().allSatisfy { $0.isFinite })
  }

  @Test(
    "the clip search never loses to plain min-max rounding",
    arguments: integerFormats.filter { $0.coding == .affine })
  func beatsMinMax(_ format: WeightFormat) {
    let weights = Self.random(24, 256, seed: 2)
    let quantized = RoundToNearest(pool: Self.pool).quantize(weights, as: format).dequantized()
    let searched = Self.squaredError(weights, quantized)
    let plain = Self.squaredError(weights, Self.minMax(weights, format))
    // Rounding of the error sums themselves: 2⁻²³ a term, 256 · 24 terms.
    #expect(searched <= plain * 1.001)
    if format.bitWidth <= 3 { #expect(searched < plain * 0.97) }
  }

  @Test("important input features are rounded better")
  func importanceMatters() throws {
    let format = try #require(WeightFormat(identifier: "int3_g64"))
    let weights = Self.random(32, 128, seed: 3)
    let importance = (0..<128).map { Float($0 % 8 == 0 ? 50 : 1) }
    let quantizer = RoundToNearest(pool: Self.pool)
    let plain = quantizer.quantize(weights, as: format).dequantized()
    let weighted = quantizer.quantize(weights, as: format, meanSquaredInput: importance)
      .dequantized()
    #expect(
      Self.squaredError(weights, weighted, importance)
        < Self.squaredError(weights, plain, importance))
  }

  @Test(
    "the same codes for any thread count and any cut into segments",
    arguments: [
      "int4_g32", "nl4_g64", "int4_g128q", "int8_row", "bfp4_b32", "bcq2_g128",
    ])
  func deterministic(_ name: String) throws {
    let format = try #require(WeightFormat(identifier: name))
    let weights = Self.random(37, 100, seed: 4)
    let one = RoundToNearest(pool: ThreadPool(threadCount: 1)).quantize(weights, as: format)
    let three = RoundToNearest(pool: ThreadPool(threadCount: 3)).quantize(weights, as: format)
    #expect(one.dequantized() == three.dequantized())
    let segment = RoundToNearest(pool: Self.pool).quantize(
      weights, rows: [5..<9, 30..<37], as: format)
    let rows = Array(5..<9) + Array(30..<37)
    let expected = rows.flatMap { row in one.dequantized()[row * 100..<(row + 1) * 100] }
    #expect(segment.dequantized() == expected)
  }

  @Test(
    "zero, constant and one-sided groups",
    arguments: integerFormats.filter { [.affine, .symmetric].contains($0.coding) })
  func degenerateGroups(_ format: WeightFormat) {
    let columns = format.groupSize
    var values = [Float](repeating: 0, count: 4 * columns)
    for column in 0..<columns {
      values[columns + column] = 0.25
      values[2 * columns + column] = -0.5
      values[3 * columns + column] = column == 0 ? 3 : 0
    }
    let weights = FloatMatrix(rows: 4, columns: columns, values: values)
    let result = RoundToNearest(pool: Self.pool).quantize(weights, as: format).dequantized()
    for (index, value) in result.enumerated() {
      // The scale is rounded to binary16 (2⁻¹¹ relative), and a one-sided symmetric group has
      // 2^(b−1) − 1 steps on its positive side, so a constant is met within a step.
      let tolerance =
        abs(values[index]) * 0.001 + (format.coding == .symmetric ? abs(values[index]) / 100 : 0)
      #expect(abs(value - values[index]) <= tolerance, "at \(index)")
    }
  }

  @Test("f16 keeps every weight within half a unit in the last place, and clamps")
  func float16() throws {
    let weights = FloatMatrix(rows: 1, columns: 4, values: [0.1, -1.5, 1e6, -1e6])
    let result = RoundToNearest(pool: Self.pool).quantize(weights, as: .f16).dequantized()
    #expect(abs(result[0] - 0.1) <= 0.1 * 0x1p-11)
    #expect(result[1] == -1.5)
    #expect(result[2] == 65504 && result[3] == -65504)
  }
}
