import BitplanCore
import BitplanKernels
import Testing

struct SegmentTests {
  /// An operator of 150 output features in formats of every family, its rows interleaved.
  static func makeOperator() throws -> (PackedOperator, [(QuantizedWeights, [Range<Int>])]) {
    var generator = SeededGenerator(state: 9)
    let columns = 200
    let plan: [(String, [Range<Int>])] = [
      ("int8_g128s", [0..<16]), ("int8_row", [64..<70]), ("nl4_g64", [100..<116]),
      ("int4_g64", [16..<32]), ("int4_g128q", [32..<50]), ("bfp6_b32", [50..<57]),
      ("bcq3_g128", [57..<64]),
      ("f16", [149..<150, 70..<75]), ("int3_g32", [75..<100]), ("int2_g128", [116..<149]),
    ]
    var parts: [(QuantizedWeights, [Range<Int>])] = []
    for (name, rows) in plan {
      let format = try #require(WeightFormat(identifier: name))
      let shape = MatrixShape(
        outputFeatures: rows.reduce(0) { $0 + $1.count }, inputFeatures: columns)
      parts.append((generator.weights(format, shape), rows))
    }
    let whole = try PackedOperator(
      shape: MatrixShape(outputFeatures: 150, inputFeatures: columns),
      segments: parts.map { (PackedMatrix(packing: $0.0), $0.1) })
    return (whole, parts)
  }

  /// An operator large enough for threads to share one token, every row beside one of another format, as
  /// plans by output features leave them: tiles whose rows all go to different places, and part of one.
  static func makeScattered(
    columns: Int = 800
  ) throws -> (PackedOperator, [(QuantizedWeights, [Range<Int>])]) {
    var generator = SeededGenerator(state: 12)
    let names = ["int5_g128", "nl4_g64", "int8_row", "bcq2_g128", "f16"]
    let features = 357
    var parts: [(QuantizedWeights, [Range<Int>])] = []
    for (index, name) in names.enumerated() {
      let rows = stride(from: index, to: features, by: names.count).map { $0..<$0 + 1 }
      let shape = MatrixShape(outputFeatures: rows.count, inputFeatures: columns)
      let format = try #require(WeightFormat(identifier: name))
      parts.append((generator.weights(format, shape), rows))
    }
    let whole = try PackedOperator(
      shape: MatrixShape(outputFeatures: features, inputFeatures: columns),
      segments: parts.map { (PackedMatrix(packing: $0.0), $0.1) })
    return (whole, parts)
  }

  @Test("segments together equal separate multiplications", arguments: InstructionSet.supported)
  func equalsSeparate(_ set: InstructionSet) throws {
    var generator = SeededGenerator(state: 10)
    for (whole, parts) in [try Self.makeOperator(), try Self.makeScattered()] {
      for threads in [1, 3] {
        let context = try makeContext(set, threads: threads)
        for tokens in [1, 2, 9, 40] {
          let values = generator.floats(tokens * whole.shape.inputFeatures)
          let y = product(whole, values, tokens: tokens, context)
          for (weights, rows) in parts {
            let part = product(
              PackedOperator(PackedMatrix(packing: weights)), values, tokens: tokens, context)
            let features = rows.flatMap { Array($0) }
            for token in 0..<tokens {
              for (row, feature) in features.enumerated() {
                let (expected, actual) = (
                  part[token * features.count + row],
                  y[token * whole.shape.outputFeatures + feature]
                )
                #expect(expected.bitPattern == actual.bitPattern, "feature \(feature)")
              }
            }
          }
        }
      }
    }
  }

  @Test("rows are dequantized and looked up where they belong")
  func dequantized() throws {
    let (whole, parts) = try Self.makeOperator()
    let all = whole.dequantized()
    for (weights, rows) in parts {
      let values = weights.dequantized()
      for (row, feature) in rows.flatMap({ Array($0) }).enumerated() {
        for k in 0..<200 { #expect(all[feature, k] == values[row * 200 + k]) }
      }
    }
    let some = FloatMatrix(rows: 3, columns: 200)
    whole.lookUp([149, 72, 0], into: some)
    for (position, row) in [149, 72, 0].enumerated() {
      for k in 0..<200 { #expect(some[position, k] == all[row, k]) }
    }
  }

  @Test("segments that do not cover the operator exactly once are refused")
  func refusesWrongRows() throws {
    var generator = SeededGenerator(state: 11)
    let format = try #require(WeightFormat(identifier: "int4_g32"))
    let part = { (rows: Int, columns: Int) -> PackedMatrix in
      var local = generator
      defer { generator = local }
      return PackedMatrix(
        packing: local.weights(format, MatrixShape(outputFeatures: rows, inputFeatures: columns)))
    }
    let shape = MatrixShape(outputFeatures: 20, inputFeatures: 40)
    let wrong: [[(PackedMatrix, [Range<Int>])]] = [
      [],
      [(part(19, 40), [0..<19])],
      [(part(20, 40), [0..<19])],
      [(part(20, 41), [0..<20])],
      [(part(10, 40), [0..<10]), (part(10, 40), [9..<19])],
      [(part(10, 40), [0..<10]), (part(10, 40), [11..<21])],
      [(part(10, 40), [0..<10]), (part(10, 40), [-1..<0, 10..<19])],
    ]
    for segments in wrong {
      #expect(throws: KernelError.self) {
        try PackedOperator(shape: shape, segments: segments.map { ($0.0, $0.1) })
      }
    }
  }

  @Test("shapes that do not agree are refused in words")
  func refusesWrongShapes() throws {
    var generator = SeededGenerator(state: 12)
    let weights = PackedOperator(
      PackedMatrix(
        packing: generator.weights(.f16, MatrixShape(outputFeatures: 4, inputFeatures: 6))))
    let x = Activations(capacity: 2, inputFeatures: 6)
    x.didChange(tokenCount: 2)
    try KernelContext.validate(weights, x, into: FloatMatrix(rows: 3, columns: 4))
    for (rows, columns) in [(1, 4), (2, 5)] {
      #expect(throws: KernelError.self) {
        try KernelContext.validate(weights, x, into: FloatMatrix(rows: rows, columns: columns))
      }
    }
    let narrow = Activations(capacity: 2, inputFeatures: 5)
    #expect(throws: KernelError.self) {
      try KernelContext.validate(weights, narrow, into: FloatMatrix(rows: 2, columns: 4))
    }
  }
}
