import BitplanCore
import BitplanKernels
import Testing

/// The scalar kernels against arithmetic in `Double` on dequantized weights and activations.
struct ScalarKernelTests {
  @Test("two weights by hand")
  func byHand() throws {
    // scale 0.5, zero point 3: weights 0.5·(7−3) = 2 and 0.5·(1−3) = −1. Activations 127 and −64
    // are their own codes (scale 1): 2·127 + 64 = 318.
    let format = try #require(WeightFormat(identifier: "int4_g32"))
    let weights = QuantizedWeights(
      format: format, shape: MatrixShape(outputFeatures: 1, inputFeatures: 2),
      payload: .integer(codes: [7, 1], scales: [Float16(0.5).bitPattern], zeroPoints: [3]))
    let y = product(
      PackedOperator(PackedMatrix(packing: weights)), [127, -64], tokens: 1,
      try makeContext(.scalar))
    #expect(y == [318])
  }

  @Test("activations by hand")
  func activationsByHand() throws {
    // Largest magnitude 254: scale 2. 3 / 2 = 1.5 and 5 / 2 = 2.5 round to the even 2.
    let x = Activations(capacity: 2, inputFeatures: 5)
    for (k, value) in [Float(-254), 3, 5, 1, 0].enumerated() { x.values[0, k] = value }
    for (k, value) in [Float(1e-34), -1e-35, 0, 0, 0].enumerated() { x.values[1, k] = value }
    x.didChange(tokenCount: 2)
    let context = try makeContext(.scalar)
    #expect(x.dequantized(groupSize: 32, context).values == [-254, 4, 4, 0, 0, 0, 0, 0, 0, 0])
    #expect(x.dequantized(groupSize: 1, context).values == x.values.values)
  }

  @Test(
    "agrees with Double arithmetic", arguments: WeightFormat.all,
    [Shape(1, 1), Shape(7, 33), Shape(16, 128), Shape(19, 300)])
  func againstDouble(_ format: WeightFormat, _ shape: Shape) throws {
    var generator = SeededGenerator(state: 3)
    let tokens = 3
    let weights = generator.weights(format, shape.matrixShape)
    let values = generator.floats(tokens * shape.columns)
    let context = try makeContext(.scalar)
    let y = product(PackedOperator(PackedMatrix(packing: weights)), values, tokens: tokens, context)
    let x = Activations(capacity: tokens, inputFeatures: shape.columns)
    x.values.withUnsafeMutableBufferPointer { _ = $0.update(fromContentsOf: values) }
    x.didChange(tokenCount: tokens)
    let a = x.dequantized(groupSize: format.activationGroupSize, context).values
    let parts = Self.parts(weights)
    let step =
      format.activationGroupSize == WeightFormat.wholeToken ? shape.columns : format.groupSize
    for token in 0..<tokens {
      for row in 0..<shape.rows {
        var (exact, terms, magnitude) = (0.0, 0.0, 0.0)
        var groups = 0.0
        for start in stride(from: 0, to: shape.columns, by: step) {
          for part in parts {
            var sum = 0.0
            for k in start..<min(start + step, shape.columns) {
              let term =
                Double(part[row * shape.columns + k]) * Double(a[token * shape.columns + k])
              sum += term
              magnitude += abs(term)
            }
            exact += sum
            terms += abs(sum)
            groups += 1
          }
        }
        // Each group rounds its scale once and the running sum once; the dequantized activations
        // that are the reference were rounded once each, and so were the weights; unit roundoff is
        // 2^-24. A row that is one group rounds its integer sum once, too.
        let bound = 0x1p-24 * 1.01 * ((groups + 3) * terms + 2 * magnitude)
        let error = abs(Double(y[token * shape.rows + row]) - exact)
        #expect(error <= bound, "row \(row), token \(token): error \(error), bound \(bound)")
      }
    }
  }

  /// Weights that add up to the dequantized ones, one summand for everything that the kernels round
  /// apart: for binary coding the bits together and the offset, otherwise the weights themselves.
  static func parts(_ weights: QuantizedWeights) -> [[Float]] {
    guard case .binary(let codes, let scales, let offsets, let planes) = weights.payload else {
      return [weights.dequantized()]
    }
    let columns = weights.shape.inputFeatures
    let groups = (columns + 127) / 128
    let planeCount = planes.count / offsets.count
    func float(_ half: UInt16) -> Float { Float(Float16(bitPattern: half)) }
    func group(_ index: Int) -> Int { index / columns * groups + index % columns / 128 }
    let bits = codes.indices.map { index in
      let first = group(index) * planeCount
      let weights = PlaneWeights(stored: planes[first..<first + planeCount])
      return float(scales[group(index)]) * Float(weights.weight(codes[index]))
    }
    return [bits, codes.indices.map { float(offsets[group($0)]) }]
  }
}
