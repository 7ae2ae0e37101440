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
  private let pool: ThreadPool
  private var next = 0
  /// Calls that take at most ``mostSecondsAlone``, or one.
  private var callsAlone = 1

  /// One for each of `cases`, all reading through one block of memory.
  static func operators(
    _ cases: [CPUProfiler.Case], workingSetBytes: Int, context: KernelContext
  ) -> [TimedOperator] {
    let arena = WeightArena(
      workingSetBytes: workingSetBytes,
      largestOperatorBytes: cases.map { $0.format.storedBytes($0.shape) }.max() ?? 0)
    return cases.map {
      TimedOperator(arena.copies($0.format, $0.shape), batch: $0.batch, context)
    }
  }

  convenience init(_ ring: [PackedOperator], batch: Int, _ context: KernelContext) {
    self.init(ring.count, ring[0].shape, batch: batch, context.pool) {
      context.multiply(ring[$0], $1, into: $2)
    }
  }

  /// Quantizing the activations is counted, although codes in groups of 128 beside the branch share it.
  convenience init(_ ring: [PackedBranch], batch: Int, _ context: KernelContext) {
    self.init(ring.count, ring[0].shape, batch: batch, context.pool) {
      context.add(ring[$0], $1, as: .int8, into: $2)
    }
  }

  private init(
    _ copies: Int, _ shape: MatrixShape, batch: Int, _ pool: ThreadPool,
    call: @escaping (Int, Activations, FloatMatrix) -> Void
  ) {
    self.copies = copies
    self.call = call
    self.pool = pool
    self.batch = batch
    activations = Activations(capacity: batch, inputFeatures: shape.inputFeatures)
    output = FloatMatrix(rows: batch, columns: shape.outputFeatures)
    var generator = SeededGenerator(state: 2)
    activations.values.withUnsafeMutableBufferPointer { values in
      for index in values.indices { values[index] = Float.random(in: -1...1, using: &generator) }
    }
  }

  /// Calls that take about `seconds` together. First calls find caches cold and threads asleep, so they
  /// say little: calls are doubled until they take half of it.
  func loops(for seconds: Double) -> Int {
    var loops = 1
    while true {
      let each = secondsPerCall(loops: loops)
      callsAlone = Self.calls(in: Self.mostSecondsAlone, each)
      if each * Double(loops) >= seconds / 2 || loops >= Self.mostLoops {
        return Self.calls(in: seconds, each)
      }
      loops *= 2
    }
  }

  private static func calls(in seconds: Double, _ each: Double) -> Int {
    max(1, min(mostLoops, Int(seconds / max(each, 1e-9))))
  }

  private static let mostLoops = 1 << 17
  /// How long one thread may be busy before the others fall asleep, which makes it faster or slower. In a
  /// pass they do not: a large operator comes by now and then.
  private static let mostSecondsAlone = 50e-6

  /// Multiplies by every copy once.
  func readAll() { _ = secondsPerCall(loops: copies) }

  /// Mean seconds of one multiplication, activation quantization included.
  func secondsPerCall(loops: Int) -> Double {
    var seconds = 0.0
    var left = loops
    while left > 0 {
      let calls = min(left, callsAlone)
      pool.run { _ in }
      let watch = Stopwatch()
      for _ in 0..<calls {
        activations.didChange(tokenCount: batch)
        call(next, activations, output)
        next = next + 1 == copies ? 0 : next + 1
      }
      seconds += watch.seconds
      left -= calls
    }
    return seconds / Double(loops)
  }
}
