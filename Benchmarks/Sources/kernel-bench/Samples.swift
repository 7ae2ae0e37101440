/// Seconds of repeated runs of one thing.
struct Samples {
  private(set) var seconds: [Double] = []

  /// The fastest run: what the CPU does when nothing else runs on it.
  var best: Double { seconds.min() ?? .infinity }

  /// The run in the middle: what a user saw while this ran.
  var median: Double {
    let sorted = seconds.sorted()
    return sorted.isEmpty ? .infinity : sorted[sorted.count / 2]
  }

  /// Times `body` once more.
  mutating func time(_ body: () -> Void) {
    let clock = ContinuousClock()
    let start = clock.now
    body()
    let duration = clock.now - start
    let (whole, fraction) = duration.components
    seconds.append(Double(whole) + Double(fraction) * 1e-18)
  }
}
