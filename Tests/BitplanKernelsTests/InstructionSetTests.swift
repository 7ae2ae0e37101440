import BitplanCore
import BitplanKernels
import Testing

/// Every instruction set against the scalar kernels, bit for bit.
struct InstructionSetTests {
  static let shapes = [
    Shape(1, 1), Shape(7, 33), Shape(16, 32), Shape(17, 96), Shape(33, 130), Shape(64, 256),
    Shape(100, 768),
  ]
  static let tokenCounts = [1, 2, 3, 5, 8, 13, 16, 33, 128]

  @Test("names what is exercised")
  func names() {
    print(
      "kernels exercised: \(InstructionSet.supported.map(\.rawValue).joined(separator: ", ")); "
        + "not on this machine: "
        + InstructionSet.allCases.filter { !InstructionSet.supported.contains($0) }
        .map(\.rawValue).joined(separator: ", "))
    #expect(InstructionSet.supported.first == .scalar)
    #expect(InstructionSet.supported.last == InstructionSet.best)
    for set in InstructionSet.allCases {
      #expect((KernelSet(set) != nil) == InstructionSet.supported.contains(set))
    }
  }

  @Test("returns the scalar kernels' bits", arguments: WeightFormat.all, shapes)
  func matchesScalar(_ format: WeightFormat, _ shape: Shape) throws {
    var generator = SeededGenerator(state: 4)
    let weights = PackedOperator(
      PackedMatrix(packing: generator.weights(format, shape.matrixShape)))
    for tokens in Self.tokenCounts {
      let values = generator.floats(tokens * shape.columns)
      let expected = product(weights, values, tokens: tokens, try makeContext(.scalar))
      #expect(!expected.contains { $0.isNaN })
      for set in InstructionSet.supported.dropFirst() {
        let actual = product(weights, values, tokens: tokens, try makeContext(set))
        let difference = firstDifference(expected, actual)
        #expect(difference == nil, "\(set.rawValue), \(tokens) tokens: \(difference ?? "")")
      }
    }
  }

  @Test("a token's result does not depend on the batch it is in", arguments: WeightFormat.all)
  func batchInvariance(_ format: WeightFormat) throws {
    var generator = SeededGenerator(state: 5)
    let (tokens, columns, rows) = (29, 160, 48)
    let weights = PackedOperator(
      PackedMatrix(
        packing: generator.weights(
          format, MatrixShape(outputFeatures: rows, inputFeatures: columns))))
    let values = generator.floats(tokens * columns)
    for set in InstructionSet.supported {
      let context = try makeContext(set)
      let together = product(weights, values, tokens: tokens, context)
      for token in 0..<tokens {
        let alone = product(
          weights, Array(values[token * columns..<(token + 1) * columns]), tokens: 1, context)
        #expect(
          firstDifference(alone, Array(together[token * rows..<(token + 1) * rows])) == nil)
      }
    }
  }

  @Test("extreme codes do not overflow", arguments: WeightFormat.all, [Float(1), -1])
  func extremes(_ format: WeightFormat, _ sign: Float) throws {
    let columns = 2 * max(32, format.groupSize)
    let shape = MatrixShape(outputFeatures: 32, inputFeatures: columns)
    for (weights, value) in QuantizedWeights.constants(format, shape) {
      let packed = PackedOperator(PackedMatrix(packing: weights))
      // All activations ±127: their codes are ±127 and their scale 1, so results are integers.
      let expected = sign * Float(value * 127 * columns)
      for tokens in [1, 3, 8, 13, 20] {
        let values = [Float](repeating: 127 * sign, count: tokens * columns)
        for set in InstructionSet.supported {
          let y = product(packed, values, tokens: tokens, try makeContext(set))
          #expect(y.allSatisfy { $0 == expected }, "\(set.rawValue): \(y[0]), not \(expected)")
        }
      }
    }
  }

  @Test("infinities and NaN in activations show in every output of their token only")
  func nonFinite() throws {
    for name in ["int4_g64", "nl4_g64", "int4_g128q", "int8_row", "bcq2_g128", "bfp6_b32"] {
      try nonFinite(try #require(WeightFormat(identifier: name)))
    }
  }

  func nonFinite(_ format: WeightFormat) throws {
    var generator = SeededGenerator(state: 6)
    let weights = PackedOperator(
      PackedMatrix(
        packing: generator.weights(format, MatrixShape(outputFeatures: 20, inputFeatures: 150))))
    for set in InstructionSet.supported {
      for bad in [Float.nan, .infinity, -.infinity] {
        for tokens in [2, 14] {
          var values = generator.floats(tokens * 150)
          values[149] = bad
          let y = product(weights, values, tokens: tokens, try makeContext(set))
          #expect(y[..<20].allSatisfy { !$0.isFinite })
          #expect(y[20...].allSatisfy { $0.isFinite })
        }
      }
    }
  }

  @Test(
    "activations are quantized to the same bits", arguments: [32, 64, 128, WeightFormat.wholeToken])
  func activations(_ groupSize: Int) throws {
    var generator = SeededGenerator(state: 7)
    for columns in [1, 31, 32, 100, 128, 515] {
      for tokens in [1, 4, 5, 13, 30] {
        let x = Activations(capacity: tokens, inputFeatures: columns)
        let values = generator.floats(tokens * columns).map { $0 * 1e-3 }
        x.values.withUnsafeMutableBufferPointer { _ = $0.update(fromContentsOf: values) }
        x.didChange(tokenCount: tokens)
        let expected = x.dequantized(groupSize: groupSize, try makeContext(.scalar)).values
        for set in InstructionSet.supported.dropFirst() {
          x.didChange(tokenCount: tokens)
          let actual = x.dequantized(groupSize: groupSize, try makeContext(set)).values
          #expect(firstDifference(expected, actual) == nil)
        }
      }
    }
  }

  @Test("one wrong bit in anything stored is caught", arguments: WeightFormat.all)
  func brokenVariantsAreCaught(_ format: WeightFormat) throws {
    var generator = SeededGenerator(state: 8)
    let shape = MatrixShape(outputFeatures: 17, inputFeatures: 96)
    let weights = generator.weights(format, shape)
    let values = generator.floats(13 * 96)
    let context = try makeContext(.best)
    let expected = product(
      PackedOperator(PackedMatrix(packing: weights)), values, tokens: 13, context)
    let damaged = weights.damaged
    #expect(!damaged.isEmpty)
    for (index, broken) in damaged.enumerated() {
      let actual = product(
        PackedOperator(PackedMatrix(packing: broken)), values, tokens: 13, context)
      #expect(firstDifference(expected, actual) != nil, "\(format), part \(index)")
    }
  }
}
