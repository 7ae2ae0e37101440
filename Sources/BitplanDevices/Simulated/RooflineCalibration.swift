public import BitplanCore
internal import Foundation

/// Finds the cycles that kernels need, and the bandwidths, from measured profiles of one machine.
///
/// Starting from a rough guess, one number after another is made larger or smaller while that lowers
/// the mean absolute logarithm of predicted over measured time, in ever smaller steps. The result is
/// the same for the same input.
public struct RooflineCalibration: Sendable {
  /// What a profile does not tell of its machine.
  public struct Machine: Hashable, Sendable {
    /// Cycles in a second.
    public var clockHertz: Double
    /// Width of a vector register of the kernels that were timed.
    public var vectorBits: Int
    /// Caches from the innermost, as (name, bytes that all threads together have).
    public var caches: [Cache]

    /// One cache level.
    public struct Cache: Hashable, Sendable {
      /// Such as `L2`.
      public var name: String
      /// Bytes that all threads together have.
      public var capacityBytes: Int

      /// Makes a cache.
      public init(name: String, capacityBytes: Int) {
        self.name = name
        self.capacityBytes = capacityBytes
      }
    }

    /// Describes a machine.
    public init(clockHertz: Double, vectorBits: Int, caches: [Cache]) {
      self.clockHertz = clockHertz
      self.vectorBits = vectorBits
      self.caches = caches
    }
  }

  /// One measured operator beside its prediction.
  public struct Comparison: Hashable, Sendable {
    /// What was measured.
    public let measurement: DeviceProfile.Measurement
    /// Bytes that the measurement cycled through.
    public let workingSetBytes: Int
    /// Seconds by a model that was fitted to all measurements.
    public let fittedSeconds: Double
    /// Seconds by a model that never saw this shape.
    public let heldOutSeconds: Double
  }

  /// The fitted CPU.
  public let cpu: RooflineCPU
  /// Every measurement beside its prediction.
  public let comparisons: [Comparison]

  private struct Point {
    let measurement: DeviceProfile.Measurement
    let workingSetBytes: Int
  }

  /// Fits `machine` to `profiles`, of which at least one must have measurements.
  ///
  /// - Complexity: O(s·n) evaluations for `s` steps, some thousands, and `n` measurements; once more
  ///   for every shape that is left out in turn.
  public init?(machine: Machine, profiles: [DeviceProfile]) {
    let points = profiles.flatMap { profile in
      profile.measurements.map {
        Point(measurement: $0, workingSetBytes: profile.workingSetBytes)
      }
    }
    guard let first = profiles.first, !points.isEmpty else { return nil }
    let guess = Self.guess(machine, first)
    let fitted = Self.fit(guess, points)
    cpu = fitted
    struct Place: Hashable {
      let shape: MatrixShape
      let workingSetBytes: Int
    }
    func place(_ point: Point) -> Place {
      Place(shape: point.measurement.shape, workingSetBytes: point.workingSetBytes)
    }
    var withoutPlace: [Place: RooflineCPU] = [:]
    for place_ in Set(points.map(place)) {
      // Starts from the guess, not from the fit, which has seen the shape.
      withoutPlace[place_] = Self.fit(guess, points.filter { place($0) != place_ })
    }
    comparisons = points.map { point in
      Comparison(
        measurement: point.measurement, workingSetBytes: point.workingSetBytes,
        fittedSeconds: Self.seconds(fitted, point),
        heldOutSeconds: Self.seconds(withoutPlace[place(point)] ?? fitted, point))
    }
  }

  /// Median of |predicted ÷ measured − 1| at `batch`; `nil` where nothing was measured.
  public func medianError(batch: Int, heldOut: Bool) -> Double? {
    let errors = comparisons.filter { $0.measurement.batch == batch }.map {
      abs((heldOut ? $0.heldOutSeconds : $0.fittedSeconds) / $0.measurement.seconds - 1)
    }
    return errors.isEmpty ? nil : TimingStatistics(errors).median
  }

  private static func seconds(_ cpu: RooflineCPU, _ point: Point) -> Double {
    cpu.cost(
      point.measurement.format, point.measurement.shape, tokens: point.measurement.batch,
      workingSetBytes: point.workingSetBytes
    ).seconds
  }

  /// Where the search starts: ceilings as measured, cycles by rule of thumb.
  private static func guess(_ machine: Machine, _ profile: DeviceProfile) -> RooflineCPU {
    let peaks = profile.peaks
    let threads = profile.key.threadCount
    let memory = RooflineCPU.Level(
      name: "memory", capacityBytes: nil, readBytesPerSecond: peaks.readBytesPerSecond,
      readBytesPerSecondOneThread: peaks.readBytesPerSecondOneThread)
    var factor = Double(1 << machine.caches.count)
    var levels: [RooflineCPU.Level] = []
    for cache in machine.caches {
      levels.append(
        RooflineCPU.Level(
          name: cache.name, capacityBytes: cache.capacityBytes,
          readBytesPerSecond: peaks.readBytesPerSecond * factor,
          readBytesPerSecondOneThread: peaks.readBytesPerSecond * factor / Double(threads)))
      factor /= 2
    }
    let perCycle = Double(threads) * machine.clockHertz
    return RooflineCPU(
      threads: threads, clockHertz: machine.clockHertz, vectorBits: machine.vectorBits,
      int8MultiplyAddsPerCycle: peaks.int8MultiplyAddsPerSecond / perCycle,
      float32MultiplyAddsPerCycle: peaks.float32MultiplyAddsPerSecond / perCycle,
      levels: levels + [memory],
      work: RooflineCPU.Work(
        callCycles: 500, handOverCycles: 5000, quantizeCyclesPerVector: 4,
        decodeCyclesPerVector: [2, 2, 2, 3, 3, 3], float16CyclesPerVector: 2,
        groupCyclesPerVector: 8, groupCyclesPerVectorPrefill: 4, expandCyclesPerVector: 8,
        int8Efficiency: 0.7, float32Efficiency: 0.5))
  }

  private typealias Parameter = WritableKeyPath<RooflineCPU, Double>

  /// The numbers that the points say something about.
  private static func parameters(_ cpu: RooflineCPU, _ points: [Point]) -> [[Parameter]] {
    var parameters: [[Parameter]] = [
      [\.work.callCycles], [\.work.handOverCycles], [\.work.quantizeCyclesPerVector],
      [\.work.float16CyclesPerVector], [\.work.groupCyclesPerVector],
      [\.work.groupCyclesPerVectorPrefill], [\.work.expandCyclesPerVector],
      [\.work.int8Efficiency], [\.work.float32Efficiency],
    ]
    for index in cpu.work.decodeCyclesPerVector.indices {
      parameters.append([\.work.decodeCyclesPerVector[index]])
    }
    let used = Set(points.map { cpu.level($0.workingSetBytes).name })
    for index in cpu.levels.indices where used.contains(cpu.levels[index].name) {
      parameters.append([
        \.levels[index].readBytesPerSecond, \.levels[index].readBytesPerSecondOneThread,
      ])
    }
    return parameters
  }

  private static func fit(_ start: RooflineCPU, _ points: [Point]) -> RooflineCPU {
    guard !points.isEmpty else { return start }
    func loss(_ cpu: RooflineCPU) -> Double {
      points.reduce(0) { $0 + abs(log(seconds(cpu, $1) / $1.measurement.seconds)) }
    }
    let parameters = parameters(start, points)
    var best = start
    var lowest = loss(best)
    var step = 2.0
    var rounds = 0
    while step > 1.005, rounds < 400 {
      rounds += 1
      var improved = false
      for together in parameters {
        for factor in [step, 1 / step] {
          var candidate = best
          for parameter in together { candidate[keyPath: parameter] *= factor }
          let value = loss(candidate)
          if value < lowest - 1e-9 {
            (best, lowest, improved) = (candidate, value, true)
          }
        }
      }
      if !improved { step = step.squareRoot() }
    }
    return best
  }
}
