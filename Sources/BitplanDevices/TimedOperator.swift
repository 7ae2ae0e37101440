internal import BitplanCore
internal import BitplanKernels

/// One operator or side branch with its buffers, ready to be timed.
final class TimedOperator {
  /// Multiplies by one of the copies.
  private let call: (_ copy: Int, Activations, FloatMatrix) -> Void
  private let copies: Int
  private let activations: Activations
  private let output: FloatMatrix
  private let batch: Int
  private var next = 0

  convenience init(_ ring: [PackedOperator], batch: Int, _ context: KernelContext) {
    self.init(ring.count, ring[0].shape, batch: batch) { context.multiply(ring[$0], $1, into: $2) }
  }

  /// Quantizing the activations is counted, although codes in groups of 128 beside the branch share it.
  convenience init(_ ring: [PackedBranch], batch: Int, _ context: KernelContext) {
    self.init(ring.count, ring[0].shape, batch: batch) {
      context.add(ring[$0], $1, as: .int8, into: $2)
    }
  }

  private init(
    _ copies: Int, _ shape: MatrixShape, batch: Int,
    call: @escaping (Int, Activations, FloatMatrix) -> Void
  ) {
    self.copies = copies
    self.call = call
    self.batch = batch
    activations = Activations(capacity: batch, inputFeatures: shape.inputFeatures)
    output = FloatMatrix(rows: batch, columns: shape.outputFeatures)
    var generator = SeededGenerator(state: 2)
    activations.values.withUnsafeMutableBufferPointer { values in
      for index in values.indices { values[index] = Float.random(in: -1...1, using: &generator) }
    }
  }

  /// Calls that take at least `seconds` together.
  func loops(for seconds: Double) -> Int {
    let first = secondsPerCall(loops: 1)
    let estimate = min(first, secondsPerCall(loops: 2))
    return max(1, min(100_000, Int((seconds / max(estimate, 1e-9)).rounded(.up))))
  }

  /// Mean seconds of one multiplication, activation quantization included.
  func secondsPerCall(loops: Int) -> Double {
    let watch = Stopwatch()
    for _ in 0..<loops {
      activations.didChange(tokenCount: batch)
      call(next, activations, output)
      next = next + 1 == copies ? 0 : next + 1
    }
    return watch.seconds / Double(loops)
  }
}
