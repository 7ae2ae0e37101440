import BitplanCore
import BitplanKernels
import Testing

struct AttentionOperationsTests {
  /// Head sizes with and without a path of their own, and what does not fill a vector.
  static let sizes = [1, 7, 16, 24, 32, 40, 48, 64, 80, 128]
  static let counts = [1, 2, 3, 31, 100]

  static func values(_ count: Int, _ generator: inout SeededGenerator) -> [Float] {
    (0..<count).map { _ in Float.random(in: -1...1, using: &generator) }
  }

  @Test("scores of keys agree with Double", arguments: sizes, counts)
  func keyScores(_ size: Int, _ count: Int) {
    var generator = SeededGenerator(state: 21)
    let stride = size + 5
    let query = Self.values(size, &generator)
    let keys = Self.values((count - 1) * stride + size, &generator)
    var scores = [Float](repeating: .nan, count: count)
    query.withUnsafeBufferPointer { query in
      keys.withUnsafeBufferPointer { keys in
        scores.withUnsafeMutableBufferPointer { scores in
          VectorOperations.keyScores(query, keys: keys, stride: stride, scale: 0.3, into: scores)
        }
      }
    }
    for key in 0..<count {
      let products = (0..<size).map { Double(query[$0]) * Double(keys[key * stride + $0]) }
      // A product, size/16 + 4 sums and the scale are rounded, each by 2⁻²⁴ of at most Σ |products|.
      let bound = products.reduce(0) { $0 + abs($1) } * 0.3 * Double(size / 16 + 7) * 0x1p-24
      #expect(abs(Double(scores[key]) - products.reduce(0, +) * 0.3) <= bound)
    }
  }

  @Test("weighted sums agree with Double", arguments: sizes, counts)
  func weightedSum(_ size: Int, _ count: Int) {
    var generator = SeededGenerator(state: 22)
    let stride = size + 3
    let weights = Self.values(count, &generator)
    let rows = Self.values((count - 1) * stride + size, &generator)
    var out = [Float](repeating: .nan, count: size)
    weights.withUnsafeBufferPointer { weights in
      rows.withUnsafeBufferPointer { rows in
        out.withUnsafeMutableBufferPointer { out in
          VectorOperations.weightedSum(weights, rows: rows, stride: stride, into: out)
        }
      }
    }
    for column in 0..<size {
      let products = (0..<count).map { Double(weights[$0]) * Double(rows[$0 * stride + column]) }
      // A product and count/2 + 2 sums are rounded, each by 2⁻²⁴ of at most Σ |products|.
      let bound = products.reduce(0) { $0 + abs($1) } * Double(count / 2 + 4) * 0x1p-24
      #expect(abs(Double(out[column]) - products.reduce(0, +)) <= bound)
    }
  }

  @Test("nothing is written beyond the outputs, and no keys means no scores")
  func staysInside() {
    var generator = SeededGenerator(state: 23)
    let query = Self.values(32, &generator)
    var memory = [Float](repeating: 7, count: 40)
    memory.withUnsafeMutableBufferPointer { memory in
      query.withUnsafeBufferPointer { query in
        VectorOperations.keyScores(
          query, keys: query, stride: 0, scale: 1, into: .init(rebasing: memory[0..<0]))
        VectorOperations.keyScores(
          query, keys: query, stride: 0, scale: 1, into: .init(rebasing: memory[3..<6]))
        VectorOperations.weightedSum(
          .init(rebasing: query[0..<1]), rows: query, stride: 0,
          into: .init(rebasing: memory[9..<29]))
      }
    }
    let isUntouched = memory.indices.map { memory[$0] == 7 }
    #expect(
      (0..<40).allSatisfy { isUntouched[$0] == !((3..<6).contains($0) || (9..<29).contains($0)) })
    var empty = [Float](repeating: 7, count: 20)
    empty.withUnsafeMutableBufferPointer { empty in
      VectorOperations.weightedSum(
        .init(start: nil, count: 0), rows: .init(start: nil, count: 0), stride: 0, into: empty)
    }
    #expect(empty.allSatisfy { $0 == 0 })
  }
}
