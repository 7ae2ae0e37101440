import BitplanCore
import BitplanKernels
import Testing

struct SixteenBitActivationTests {
  static let formats = [
    "int2_g128", "int3_g32", "int4_g64", "int5_g128", "int8_g128s", "int8_row", "int4_g128q",
    "nl4_g64", "bfp6_b32", "bcq2_g128", "f16",
  ]

  /// Makes activations of some tokens.
  private func activations(_ values: [Float], columns: Int) -> Activations {
    let x = Activations(capacity: values.count / columns, inputFeatures: columns)
    x.values.withUnsafeMutableBufferPointer { _ = $0.update(fromContentsOf: values) }
    x.didChange(tokenCount: values.count / columns)
    return x
  }

  @Test(
    "the product is that of the values plus that of what 8 bits leave of them",
    arguments: InstructionSet.supported, formats)
  func addsTheRest(_ set: InstructionSet, _ name: String) throws {
    var generator = SeededGenerator(state: 31)
    let format = try #require(WeightFormat(identifier: name))
    let shape = MatrixShape(outputFeatures: 37, inputFeatures: 200)
    let narrow = PackedOperator(PackedMatrix(packing: generator.weights(format, shape)))
    var wide = narrow
    wide.activations = .int16
    for threads in [1, 3] {
      let context = try makeContext(set, threads: threads)
      for tokens in [1, 2, 9, 40] {
        let values = generator.floats(tokens * 200)
        let rounded = activations(values, columns: 200)
          .dequantized(groupSize: format.activationGroupSize, context).values
        let first = product(narrow, values, tokens: tokens, context)
        let second = product(
          narrow, zip(values, rounded).map { $0 - $1 }, tokens: tokens, context)
        let sum = zip(first, second).map { $0 + $1 }
        let whole = product(wide, values, tokens: tokens, context)
        #expect(firstDifference(sum, whole) == nil)
      }
    }
  }

  @Test(
    "what is multiplied by is within a 508th of the first byte's scale",
    arguments: [32, 128, WeightFormat.wholeToken])
  func isAccurate(_ groupSize: Int) throws {
    var generator = SeededGenerator(state: 32)
    let (tokens, columns) = (5, 300)
    let context = try makeContext(.scalar)
    let values = generator.floats(tokens * columns)
    let x = activations(values, columns: columns)
    let wide = x.dequantized(groupSize: groupSize, as: .int16, context).values
    let size = min(groupSize, columns)
    for token in 0..<tokens {
      for begin in stride(from: 0, to: columns, by: size) {
        let places = token * columns + begin..<token * columns + min(begin + size, columns)
        let scale = (places.map { abs(values[$0]) }.max() ?? 0) / 127
        for place in places {
          // Half a step of the second byte, whose largest value is half a step of the first; and
          // a rounding of each of the two products and of their sum.
          let bound = Double(scale) / 508 * 1.001 + Double(abs(values[place])) * 0x1p-22
          #expect(abs(Double(values[place]) - Double(wide[place])) <= bound)
        }
      }
    }
  }

  @Test("segments together equal separate multiplications", arguments: InstructionSet.supported)
  func segments(_ set: InstructionSet) throws {
    var (whole, parts) = try SegmentTests.makeOperator()
    whole.activations = .int16
    var generator = SeededGenerator(state: 33)
    let context = try makeContext(set, threads: 2)
    for tokens in [1, 17] {
      let values = generator.floats(tokens * 200)
      let y = product(whole, values, tokens: tokens, context)
      for (weights, rows) in parts {
        var part = PackedOperator(PackedMatrix(packing: weights))
        part.activations = .int16
        let expected = product(part, values, tokens: tokens, context)
        let features = rows.flatMap { Array($0) }
        for token in 0..<tokens {
          let actual = features.map { y[token * 150 + $0] }
          let begin = token * features.count
          let difference = firstDifference(
            Array(expected[begin..<begin + features.count]), actual)
          #expect(difference == nil)
        }
      }
    }
  }

  @Test("a value that is not a number makes its token's results none, and no other's")
  func notANumber() throws {
    var generator = SeededGenerator(state: 34)
    let format = try #require(WeightFormat(identifier: "int4_g64"))
    var weights = PackedOperator(
      PackedMatrix(
        packing: generator.weights(format, MatrixShape(outputFeatures: 20, inputFeatures: 96))))
    weights.activations = .int16
    var values = generator.floats(3 * 96)
    values[96 + 7] = .nan
    let y = product(weights, values, tokens: 3, try makeContext(.best))
    let isNaN = y.map(\.isNaN)
    #expect(isNaN == (0..<60).map { (20..<40).contains($0) })
  }
}
