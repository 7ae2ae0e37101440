import BitplanCore
import BitplanKernels
import BitplanQuantizers
import Testing

/// The fits of non-linear, block floating-point, two-level, per-row and binary formats against
/// searches that are slower and simpler.
struct FamilyFitTests {
  static let quantizer = RoundToNearest(pool: ThreadPool(threadCount: 2))

  /// The squared error of one group of `weights` that starts at `begin`.
  static func groupError(
    _ weights: FloatMatrix, _ values: [Float], row: Int, _ columns: Range<Int>
  ) -> Double {
    columns.reduce(0) { sum, column in
      let difference = Double(weights[row, column] - values[row * weights.columns + column])
      return sum + difference * difference
    }
  }

  @Test("non-linear scales come close to the best of a fine grid", arguments: [32, 64, 128])
  func nonlinear(_ groupSize: Int) throws {
    let format = try #require(WeightFormat(identifier: "nl4_g\(groupSize)"))
    let weights = RoundToNearestTests.random(12, 256, seed: 31)
    let values = Self.quantizer.quantize(weights, as: format).dequantized()
    let levels = NonlinearLevels.values.map { Double($0) }
    var (found, best) = (0.0, 0.0)
    for row in 0..<weights.rows {
      for begin in stride(from: 0, to: 256, by: groupSize) {
        let columns = begin..<begin + groupSize
        found += Self.groupError(weights, values, row: row, columns)
        let largest = columns.map { abs(Double(weights[row, $0])) }.max()!
        best += (60...140).flatMap { step in [1, -1.0].map { $0 * Double(step) } }.map { part in
          let scale = largest / 127 * part / 100
          return columns.reduce(0.0) { sum, column in
            let weight = Double(weights[row, column])
            return sum + levels.map { ($0 * scale - weight) * ($0 * scale - weight) }.min()!
          }
        }.min()!
      }
    }
    // Ten ratios and a refit instead of a grid of 1 %.
    #expect(found <= best * 1.02, "\(found), the grid \(best)")
    #expect(found >= best * 0.9)
  }

  @Test("non-linear levels suit bell-shaped weights better than even steps")
  func nonlinearBeatsEvenSteps() throws {
    let weights = RoundToNearestTests.random(32, 512, seed: 32)
    func error(_ name: String) throws -> Double {
      let format = try #require(WeightFormat(identifier: name))
      return RoundToNearestTests.squaredError(
        weights, Self.quantizer.quantize(weights, as: format).dequantized())
    }
    let (uneven, even) = (try error("nl4_g128"), try error("int4_g128"))
    #expect(uneven < even)
  }

  @Test("block exponents are the best of all", arguments: ["bfp4_b32", "bfp6_b32", "bfp8_b32"])
  func blockFloat(_ name: String) throws {
    let format = try #require(WeightFormat(identifier: name))
    let weights = RoundToNearestTests.random(12, 128, seed: 33)
    let quantized = Self.quantizer.quantize(weights, as: format)
    let values = quantized.dequantized()
    let middle = Double(1 << (format.bitWidth - 1))
    for row in 0..<weights.rows {
      for begin in stride(from: 0, to: 128, by: 32) {
        let columns = begin..<begin + 32
        let best = (-20...4).map { exponent -> Double in
          let scale = (0..<abs(exponent)).reduce(1.0) { value, _ in
            exponent < 0 ? value / 2 : value * 2
          }
          return columns.reduce(0.0) { sum, column in
            let weight = Double(weights[row, column])
            let code = min(max((weight / scale).rounded(.toNearestOrEven), -middle), middle - 1)
            return sum + (code * scale - weight) * (code * scale - weight)
          }
        }.min()!
        let found = Self.groupError(weights, values, row: row, columns)
        // Sums of 32 terms in Float choose between errors that are equal to rounding.
        #expect(found <= best * (1 + 32 * 0x1p-23), "\(found), not \(best)")
      }
    }
  }

  @Test("two-level codes keep to the protective range, at little cost")
  func twoLevel() throws {
    let weights = RoundToNearestTests.random(24, 640, seed: 34)
    // One row with groups of very different sizes.
    for column in 0..<128 { weights[3, column] *= 30 }
    let format = try #require(WeightFormat(identifier: "int4_g128q"))
    let quantized = Self.quantizer.quantize(weights, as: format)
    guard case .twoLevel(let codes, _, let levels) = quantized.payload else {
      Issue.record("another payload")
      return
    }
    for (index, code) in codes.enumerated() {
      let level = levels[index / 640 * 5 + index % 640 / 128]
      let weight = level.groupScale * (Int(code) - level.zeroPoint)
      #expect(abs(weight) <= 127)
      #expect(level.weight(code) == Int8(weight))
    }
    let affine = try #require(WeightFormat(identifier: "int4_g128"))
    let found = RoundToNearestTests.squaredError(weights, quantized.dequantized())
    let plain = RoundToNearestTests.squaredError(
      weights, Self.quantizer.quantize(weights, as: affine).dequantized())
    #expect(found <= plain * 1.15, "\(found), one level \(plain)")
  }

  @Test("the protective range, by hand")
  func protectiveRange() {
    // 127 / 16 = 7: codes 1…15 around 8; 127 / 8 = 15: all codes.
    #expect(TwoLevelCode(groupScale: 16, zeroPoint: 8).codes == 1...15)
    #expect(TwoLevelCode(groupScale: 8, zeroPoint: 0).codes == 0...15)
    #expect(TwoLevelCode(groupScale: 16, zeroPoint: 0).codes == 0...7)
    for byte in UInt8.min...UInt8.max {
      let level = TwoLevelCode(byte: byte)
      #expect(
        TwoLevelCode(groupScale: level.groupScale, zeroPoint: level.zeroPoint).byte == byte)
      for code in level.codes {
        let weight = level.groupScale * (code - level.zeroPoint)
        #expect((-127...127).contains(weight))
        #expect(Int(level.weight(UInt8(code))) == weight)
      }
    }
  }

  @Test("per-row weights are within half a step")
  func perRow() throws {
    let format = try #require(WeightFormat(identifier: "int8_row"))
    let weights = RoundToNearestTests.random(9, 300, seed: 35)
    let values = Self.quantizer.quantize(weights, as: format).dequantized()
    for row in 0..<9 {
      let largest = (0..<300).map { abs(weights[row, $0]) }.max()!
      for column in 0..<300 {
        // The search may clip a little; a step is at most largest / 127.
        #expect(abs(values[row * 300 + column] - weights[row, column]) <= largest / 127)
      }
    }
  }

  @Test("one-bit coding finds the best split of a group in two")
  func oneBit() throws {
    let format = try #require(WeightFormat(identifier: "bcq1_g128"))
    let weights = RoundToNearestTests.random(16, 128, seed: 36)
    let values = Self.quantizer.quantize(weights, as: format).dequantized()
    var (found, best) = (0.0, 0.0)
    for row in 0..<16 {
      found += Self.groupError(weights, values, row: row, 0..<128)
      // Two levels are the means of the two sides of some threshold.
      let sorted = (0..<128).map { Double(weights[row, $0]) }.sorted()
      best += (1..<128).map { cut in
        [sorted[..<cut], sorted[cut...]].reduce(0.0) { sum, side in
          let mean = side.reduce(0, +) / Double(side.count)
          return sum + side.reduce(0.0) { $0 + ($1 - mean) * ($1 - mean) }
        }
      }.min()!
    }
    #expect(found <= best * 1.01, "\(found), the best \(best)")
  }

  @Test("binary coding errs no more than even steps of its width", arguments: [2, 3, 4])
  func binary(_ bits: Int) throws {
    let weights = RoundToNearestTests.random(16, 256, seed: 37)
    func error(_ name: String) throws -> Double {
      let format = try #require(WeightFormat(identifier: name))
      return RoundToNearestTests.squaredError(
        weights, Self.quantizer.quantize(weights, as: format).dequantized())
    }
    let (binary, even) = (try error("bcq\(bits)_g128"), try error("int\(bits)_g128"))
    #expect(binary < even)
  }

  @Test("affine codes convert to binary coding", arguments: [2, 3, 4])
  func conversion(_ bits: Int) throws {
    let format = try #require(WeightFormat(identifier: "int\(bits)_g128"))
    let weights = RoundToNearestTests.random(10, 300, seed: 38)
    let affine = Self.quantizer.quantize(weights, as: format)
    let binary = try #require(affine.binaryCoded())
    #expect(binary.format.identifier == "bcq\(bits)_g128")
    guard case .integer(let codes, let scales, _) = affine.payload,
      case .binary(let sameCodes, _, _, let planeWeights) = binary.payload
    else {
      Issue.record("another payload")
      return
    }
    #expect(codes == sameCodes)
    #expect(Array(planeWeights.prefix(bits)) == (0..<bits).map { 1 << UInt8($0) })
    for (index, (a, b)) in zip(affine.dequantized(), binary.dequantized()).enumerated() {
      let scale = Float(Float16(bitPattern: scales[index / 300 * 3 + index % 300 / 128]))
      // The offset, at most 2^bits scales, is rounded to 11 bits; half the scale is exact unless
      // subnormal (below 2^-14: at most 2^-25 off, times 2^bits − 1); the float sum is rounded.
      let bound = scale * Float(1 << bits) * (0x1p-11 + 0x1p-21) + Float(1 << bits) * 0x1p-25
      #expect(abs(a - b) <= bound, "weight \(index): \(a), \(b)")
    }
    let symmetric = try #require(WeightFormat(identifier: "int8_g128s"))
    #expect(Self.quantizer.quantize(weights, as: symmetric).binaryCoded() == nil)
  }

  @Test(
    "zero, constant and one-sided groups",
    arguments: WeightFormat.all.filter {
      ![.affine, .symmetric, .float16].contains($0.coding)
    })
  func degenerateGroups(_ format: WeightFormat) {
    let columns = format.groupSize
    var values = [Float](repeating: 0, count: 4 * columns)
    for column in 0..<columns {
      values[columns + column] = 0.25
      values[2 * columns + column] = -0.5
      values[3 * columns + column] = column == 0 ? 3 : 0
    }
    let weights = FloatMatrix(rows: 4, columns: columns, values: values)
    let result = Self.quantizer.quantize(weights, as: format).dequantized()
    #expect(result[..<columns].allSatisfy { $0 == 0 })
    // A step of the format, as a part of the largest weight. Non-linear codes have no zero but 3, so
    // least squares between n zeros and one weight leaves that weight 9·n / (127² + 9·n) off: 6.6 %
    // for n = 127. Block floating point reaches 2^(b−1) − 1 of its 2^(b−1) steps.
    let step: Float =
      switch format.coding {
      case .nonlinear: 0.067
      case .blockFloat: 1 / Float(1 << (format.bitWidth - 1))
      default: 0.01
      }
    for (index, value) in result.enumerated() {
      let largest: Float = [0, 0.25, 0.5, 3][index / columns]
      #expect(abs(value - values[index]) <= largest * step, "at \(index)")
    }
  }

  @Test(
    "important input features are rounded better",
    arguments: ["nl4_g64", "bcq2_g128", "int4_g128q"])
  func importanceMatters(_ name: String) throws {
    let format = try #require(WeightFormat(identifier: name))
    let weights = RoundToNearestTests.random(32, 256, seed: 39)
    let importance = (0..<256).map { Float($0 % 8 == 0 ? 50 : 1) }
    let plain = Self.quantizer.quantize(weights, as: format).dequantized()
    let weighted = Self.quantizer.quantize(weights, as: format, meanSquaredInput: importance)
      .dequantized()
    #expect(
      RoundToNearestTests.squaredError(weights, weighted, importance)
        < RoundToNearestTests.squaredError(weights, plain, importance))
  }
}
