public import BitplanCore
public import BitplanKernels

/// Times every (format, shape, batch) that a model needs on this CPU (OHQ's on-chip awareness).
///
/// Each case multiplies by a ring of distinct packed copies that together are as large as the
/// model's packed weights, so caches are as warm or as cold as in use. Rounds go through all
/// cases in turn; a probe runs before each round, and rounds in which the probe is slower than the
/// typical one by more than ``Options/driftTolerance`` are thrown away and repeated, because the
/// machine was busy or changed its clock meanwhile.
public struct CPUProfiler {
  /// One (format, shape, batch) to time.
  public struct Case: Hashable, Sendable {
    /// Format of the weights.
    public let format: WeightFormat
    /// Shape of the operator.
    public let shape: MatrixShape
    /// Tokens multiplied at once.
    public let batch: Int

    /// Makes a case.
    public init(format: WeightFormat, shape: MatrixShape, batch: Int) {
      self.format = format
      self.shape = shape
      self.batch = batch
    }
  }

  /// How carefully to measure.
  public struct Options: Sendable {
    /// Rounds that must survive the drift check.
    public var rounds = 25
    /// Rounds tried before the best ones are taken as they are.
    public var maximumRounds = 40
    /// Rounds that every case takes part in.
    public var fewestRounds = 7
    /// A case that has taken this long in seconds is left out of later rounds: what is slow is also
    /// steady, and the heads of large models would take most of the time.
    public var caseSeconds = 1.0
    /// A round's probe may be slower than the median probe by this share.
    public var driftTolerance = 0.15
    /// Shortest time of one sample, in seconds: short operators are repeated to reach it.
    public var sampleSeconds = 0.0004
    /// Shortest time over which energy is counted, in seconds: counters move about once a millisecond.
    public var energySeconds = 0.05

    /// The defaults.
    public init() {}
  }

  private let context: KernelContext
  private let options: Options
  private let meter: EnergyMeter?

  /// Times with `context`'s kernels and threads, and counts joules where there is a `meter`.
  public init(
    context: KernelContext, options: Options = Options(), meter: EnergyMeter? = nil
  ) {
    self.context = context
    self.options = options
    self.meter = meter
  }

  /// Times `cases`.
  ///
  /// - Parameters:
  ///   - workingSetBytes: packed bytes to cycle through, as the whole model's packed weights.
  ///   - progress: called with (samples done, samples expected) and may throw to cancel.
  public func measure(
    _ cases: [Case], workingSetBytes: Int, progress: (Int, Int) throws -> Void
  ) rethrows -> [DeviceProfile.Measurement] {
    guard !cases.isEmpty else { return [] }
    let sorted = cases.sorted(by: Self.precedes)
    let arena = WeightArena(
      workingSetBytes: workingSetBytes,
      largestOperatorBytes: sorted.map { $0.format.storedBytes($0.shape) }.max() ?? 0)
    var samples = [[Double?]](repeating: [], count: sorted.count)
    var spent = [Double](repeating: 0, count: sorted.count)
    var probes: [Double] = []
    let probe = TimedOperator(arena.copies(sorted[0].format, sorted[0].shape), batch: 1, context)
    let timed = sorted.map {
      TimedOperator(arena.copies($0.format, $0.shape), batch: $0.batch, context)
    }
    let loops = timed.map { $0.loops(for: options.sampleSeconds) }
    let probeLoops = probe.loops(for: options.sampleSeconds)

    var round = 0
    while round < options.maximumRounds {
      probes.append(probe.secondsPerCall(loops: probeLoops))
      for index in sorted.indices {
        if round < options.fewestRounds || spent[index] < options.caseSeconds {
          let seconds = timed[index].secondsPerCall(loops: loops[index])
          spent[index] += seconds * Double(loops[index])
          samples[index].append(seconds)
        } else {
          samples[index].append(nil)
        }
        let expected = max(options.rounds, round + 1) * sorted.count
        if index % 8 == 0 { try progress(round * sorted.count + index, expected) }
      }
      round += 1
      if round >= options.rounds && keptRounds(probes).count >= options.rounds { break }
    }
    let kept = keptRounds(probes)
    return sorted.indices.map { index in
      let steady = kept.compactMap { samples[index][$0] }
      let statistics = TimingStatistics(steady.isEmpty ? samples[index].compactMap(\.self) : steady)
      return DeviceProfile.Measurement(
        format: sorted[index].format, shape: sorted[index].shape, batch: sorted[index].batch,
        seconds: statistics.median, spreadSeconds: statistics.spread, repeats: statistics.count,
        joules: joules(timed[index], seconds: statistics.median))
    }
  }

  /// Joules of one call, where there is a meter: what the packages use while calls follow each other.
  private func joules(_ operation: TimedOperator, seconds: Double) -> Double? {
    guard let meter, let start = meter.reading() else { return nil }
    let loops = max(1, Int((options.energySeconds / max(seconds, 1e-9)).rounded(.up)))
    _ = operation.secondsPerCall(loops: loops)
    guard let end = meter.reading() else { return nil }
    return meter.joules(from: start, to: end) / Double(loops)
  }

  /// The rounds whose probe was not slowed down; at least a third of them.
  private func keptRounds(_ probes: [Double]) -> [Int] {
    let order = probes.indices.sorted { probes[$0] < probes[$1] }
    let typical = TimingStatistics(probes).median
    let steady = order.filter { probes[$0] <= typical * (1 + options.driftTolerance) }
    return Array(
      steady.count * 3 >= probes.count ? steady[...] : order.prefix((probes.count + 2) / 3))
  }

  private static func precedes(_ a: Case, _ b: Case) -> Bool {
    let left = (a.shape.outputFeatures, a.shape.inputFeatures, a.batch)
    let right = (b.shape.outputFeatures, b.shape.inputFeatures, b.batch)
    return left == right ? a.format < b.format : left < right
  }
}

/// One operator with its buffers, ready to be timed.
private final class TimedOperator {
  private let ring: [PackedOperator]
  private let context: KernelContext
  private let activations: Activations
  private let output: FloatMatrix
  private let batch: Int
  private var next = 0

  init(_ ring: [PackedOperator], batch: Int, _ context: KernelContext) {
    self.ring = ring
    self.context = context
    self.batch = batch
    let shape = ring[0].shape
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
      context.multiply(ring[next], activations, into: output)
      next = next + 1 == ring.count ? 0 : next + 1
    }
    return watch.seconds / Double(loops)
  }
}
