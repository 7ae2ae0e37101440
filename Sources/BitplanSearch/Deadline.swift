/// The moment at which a search must answer.
struct Deadline {
  private let clock = ContinuousClock()
  private let start: ContinuousClock.Instant
  private let limitSeconds: Double

  /// `seconds` from now; may be infinite.
  init(seconds: Double) {
    start = clock.now
    limitSeconds = seconds
  }

  /// Seconds since the deadline was set.
  var elapsedSeconds: Double {
    let (seconds, attoseconds) = start.duration(to: clock.now).components
    return Double(seconds) + Double(attoseconds) * 1e-18
  }

  /// Seconds left, not below zero.
  var remainingSeconds: Double { max(0, limitSeconds - elapsedSeconds) }

  /// Whether no time is left.
  var hasPassed: Bool { elapsedSeconds >= limitSeconds }
}
