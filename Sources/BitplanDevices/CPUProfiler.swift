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
    /// Time of one sample, in seconds: short operators are repeated to take about as long.
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
    let probe = Case(format: sorted[0].format, shape: sorted[0].shape, batch: 1)
    let timed = TimedOperator.operators(
      sorted + [probe], workingSetBytes: workingSetBytes, context: context)
    let statistics = try statistics(
      Array(timed.dropLast()), probe: timed[sorted.count], progress)
    return zip(sorted, statistics).map { item, found in
      DeviceProfile.Measurement(
        format: item.format, shape: item.shape, batch: item.batch, seconds: found.times.median,
        spreadSeconds: found.times.spread, repeats: found.times.count, joules: found.joules)
    }
  }

  /// Times what side branches add, each for every one of `batches`. A branch is small beside its
  /// operator, so it is timed with as many copies as the last-level cache does not hold.
  ///
  /// - Parameter progress: called with (samples done, samples expected) and may throw to cancel.
  public func measure(
    _ branches: [SideBranch], of shape: MatrixShape, batches: [Int],
    progress: (Int, Int) throws -> Void
  ) rethrows -> [DeviceProfile.BranchMeasurement] {
    let cases = branches.flatMap { branch in batches.map { (branch: branch, batch: $0) } }
    guard !cases.isEmpty else { return [] }
    let timed = branches.flatMap { branch in
      let ring = BranchArena.copies(branch, shape)
      return batches.map { TimedOperator(ring, batch: $0, context) }
    }
    let statistics = try statistics(timed, probe: timed[0], progress)
    return zip(cases, statistics).map { item, found in
      DeviceProfile.BranchMeasurement(
        branch: item.branch, shape: shape, batch: item.batch, seconds: found.times.median,
        spreadSeconds: found.times.spread, repeats: found.times.count, joules: found.joules)
    }
  }

  /// Rounds through everything that is timed, as the type's documentation says.
  private func statistics(
    _ timed: [TimedOperator], probe: TimedOperator, _ progress: (Int, Int) throws -> Void
  ) rethrows -> [(times: TimingStatistics, joules: Double?)] {
    var samples = [[Double?]](repeating: [], count: timed.count)
    var spent = [Double](repeating: 0, count: timed.count)
    var probes: [Double] = []
    let loops = timed.map { $0.loops(for: options.sampleSeconds) }
    let probeLoops = probe.loops(for: options.sampleSeconds)

    var round = 0
    while round < options.maximumRounds {
      probes.append(probe.secondsPerCall(loops: probeLoops))
      for index in timed.indices {
        if round < options.fewestRounds || spent[index] < options.caseSeconds {
          let seconds = timed[index].secondsPerCall(loops: loops[index])
          spent[index] += seconds * Double(loops[index])
          samples[index].append(seconds)
        } else {
          samples[index].append(nil)
        }
        let expected = max(options.rounds, round + 1) * timed.count
        if index % 8 == 0 { try progress(round * timed.count + index, expected) }
      }
      round += 1
      if round >= options.rounds && keptRounds(probes).count >= options.rounds { break }
    }
    let kept = keptRounds(probes)
    return timed.indices.map { index in
      let steady = kept.compactMap { samples[index][$0] }
      let times = TimingStatistics(steady.isEmpty ? samples[index].compactMap(\.self) : steady)
      return (times, joules(timed[index], seconds: times.median))
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

  /// Decode first: many tokens at once leave the clock and the caches in another state.
  static func precedes(_ a: Case, _ b: Case) -> Bool {
    let left = (a.batch, a.shape.outputFeatures, a.shape.inputFeatures)
    let right = (b.batch, b.shape.outputFeatures, b.shape.inputFeatures)
    return left == right ? a.format < b.format : left < right
  }
}
