import BitplanCore
import BitplanKernels
import Testing

#if canImport(Darwin)
  import Darwin
#elseif canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

struct VectorOperationsTests {
  static let counts = [1, 2, 15, 16, 17, 33, 256, 1000]

  /// Runs `body` with buffers over copies of `inputs` and an output of NaN.
  static func output(
    _ inputs: [[Float]],
    _ body: ([UnsafeBufferPointer<Float>], UnsafeMutableBufferPointer<Float>) -> Void
  ) -> [Float] {
    let copies = inputs.map { input in
      let copy = UnsafeMutableBufferPointer<Float>.allocate(capacity: input.count)
      _ = copy.initialize(fromContentsOf: input)
      return copy
    }
    defer { for copy in copies { copy.deallocate() } }
    var result = [Float](repeating: .nan, count: inputs[0].count)
    result.withUnsafeMutableBufferPointer { body(copies.map { UnsafeBufferPointer($0) }, $0) }
    return result
  }

  @Test("normalisations agree with Double", arguments: counts)
  func norms(_ count: Int) {
    var generator = SeededGenerator(state: 15)
    let (x, w, b) = (generator.floats(count), generator.floats(count), generator.floats(count))
    let eps = 1e-5
    let rms = Self.output([x, w]) {
      VectorOperations.rmsNorm($0[0], weight: $0[1], eps: 1e-5, into: $1)
    }
    let layer = Self.output([x, w, b]) {
      VectorOperations.layerNorm($0[0], weight: $0[1], bias: $0[2], eps: 1e-5, into: $1)
    }
    let n = Double(count)
    let squares = x.reduce(0.0) { $0 + Double($1) * Double($1) }
    let mean = x.reduce(0.0) { $0 + Double($1) } / n
    let variance = x.reduce(0.0) { $0 + (Double($1) - mean) * (Double($1) - mean) } / n
    let largest = Double(x.map(abs).max() ?? 0)
    for i in 0..<count {
      let r = Double(x[i]) / (squares / n + eps).squareRoot() * Double(w[i])
      // Sums of count/16 + 4 roundings, then a handful more, each 2^-24 of the value.
      let roundings = n / 16 + 16
      #expect(abs(Double(rms[i]) - r) <= abs(r) * roundings * 0x1p-24 + 1e-30)
      let inverse = 1 / (variance + eps).squareRoot()
      let l = (Double(x[i]) - mean) * inverse * Double(w[i]) + Double(b[i])
      // The mean is off by its own roundings, relative to the largest magnitude.
      let scale = 2 * largest * inverse * abs(Double(w[i])) * (1 + largest * inverse) + abs(l)
      #expect(abs(Double(layer[i]) - l) <= scale * roundings * 0x1p-23 + 1e-30)
    }
  }

  @Test("softmax agrees with Double and sums to 1", arguments: counts)
  func softmax(_ count: Int) {
    var generator = SeededGenerator(state: 16)
    let x = generator.floats(count).map { $0 * 3 }
    var y = x
    y.withUnsafeMutableBufferPointer { VectorOperations.softmax($0) }
    let top = Double(x.max() ?? 0)
    let powers = x.map { exp(Double($0) - top) }
    let sum = powers.reduce(0, +)
    for i in 0..<count where powers[i] / sum > 1e-36 {
      // The difference x − max is rounded to 24 bits before it becomes an exponent, and exp itself
      // is good to 2^-22; the sum has the same errors and count/16 + 4 roundings.
      let exponent = abs(Double(x[i]) - top) + 4
      #expect(
        abs(Double(y[i]) * sum / powers[i] - 1)
          < 0x1p-20 + exponent * 0x1p-24 + Double(count) * 0x1p-28)
    }
    #expect(abs(y.reduce(0.0) { $0 + Double($1) } - 1) < 1e-5)
  }

  @Test("gated and plain activations agree with Double over the whole range")
  func activations() {
    let x = stride(from: Float(-30), through: 30, by: 0.01).map { $0 } + [-100, 100, 0, -0.0]
    let one = [Float](repeating: 1, count: x.count)
    let silu = Self.output([x, one]) { VectorOperations.siluMultiply($0[0], $0[1], into: $1) }
    let gelu = Self.output([x]) { VectorOperations.gelu($0[0], into: $1) }
    for i in x.indices {
      let v = Double(x[i])
      let s = v / (1 + exp(-v))
      #expect(abs(Double(silu[i]) - s) <= abs(s) * 0x1p-20 + 1e-37, "silu(\(v)) = \(silu[i])")
      let g = 0.5 * v * erfc(-v / 2.0.squareRoot())
      #expect(abs(Double(gelu[i]) - g) <= 1e-6 * abs(v), "gelu(\(v)) = \(gelu[i])")
      if v > -4 { #expect(abs(Double(gelu[i]) - g) <= 2e-6 * abs(g)) }
    }
  }

  @Test(
    "rows of products are fused sums in order", arguments: [(1, 1), (7, 3), (16, 64), (37, 130)])
  func products(_ count: Int, _ depth: Int) {
    let lanes = VectorOperations.productLanes
    var generator = SeededGenerator(state: 17)
    let stride = count + 5
    let factors = generator.floats(depth * stride)
    let x = generator.floats(depth * lanes)
    let before = generator.floats(count * lanes)
    var after = before
    after.withUnsafeMutableBufferPointer {
      VectorOperations.addProducts(
        factors, stride: stride, of: x, depth: depth, into: $0.baseAddress!, count: count)
    }
    var expected = before
    for row in 0..<count {
      for k in 0..<depth {
        for lane in 0..<lanes {
          expected[row * lanes + lane].addProduct(
            factors[k * stride + row], x[k * lanes + lane])
        }
      }
    }
    #expect(firstDifference(expected, after) == nil)
  }

  @Test("all instruction sets return the same bits", arguments: InstructionSet.supported, counts)
  func sameBits(_ set: InstructionSet, _ count: Int) throws {
    var generator = SeededGenerator(state: 18)
    let (a, b) = (generator.floats(count), generator.floats(count))
    let expected = try #require(VectorOperations.results(.scalar, a, b))
    let actual = try #require(VectorOperations.results(set, a, b))
    for (expected, actual) in zip(expected, actual) {
      #expect(firstDifference(expected, actual) == nil)
    }
  }

  @Test("NaN and infinities pass through")
  func nonFinite() {
    let x: [Float] = [.nan, .infinity, -.infinity, 1]
    let one = [Float](repeating: 1, count: 4)
    let silu = Self.output([x, one]) { VectorOperations.siluMultiply($0[0], $0[1], into: $1) }
    #expect(silu[0].isNaN && silu[1] == .infinity && silu[3].isFinite)
    let gelu = Self.output([x]) { VectorOperations.gelu($0[0], into: $1) }
    #expect(gelu[0].isNaN && gelu[1] == .infinity && gelu[3].isFinite)
  }

  @Test("sums and products", arguments: counts)
  func linear(_ count: Int) {
    var generator = SeededGenerator(state: 17)
    let (a, b) = (generator.floats(count), generator.floats(count))
    let sum = Self.output([a, b]) { VectorOperations.add($0[0], $0[1], into: $1) }
    #expect(sum == zip(a, b).map { $0 + $1 })
    var scaled = b
    a.withUnsafeBufferPointer { a in
      scaled.withUnsafeMutableBufferPointer { VectorOperations.addScaled(a, by: 0.3, into: $0) }
    }
    #expect(scaled == zip(a, b).map { $1 + $0 * 0.3 })
    let dot = a.withUnsafeBufferPointer { a in
      b.withUnsafeBufferPointer { VectorOperations.dot(a, $0) }
    }
    let exact = zip(a, b).reduce(0.0) { $0 + Double($1.0) * Double($1.1) }
    let magnitude = zip(a, b).reduce(0.0) { $0 + abs(Double($1.0) * Double($1.1)) }
    #expect(abs(Double(dot) - exact) <= magnitude * (Double(count) / 16 + 8) * 0x1p-24)
  }
}
