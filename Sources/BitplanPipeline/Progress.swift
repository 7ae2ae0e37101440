internal import Synchronization

/// Hears how far a long stage has come.
public protocol ProgressReporter: Sendable {
  /// A stage begins; `total` steps are expected.
  func begin(_ stage: String, total: Int)
  /// `completed` of `total` steps of the current stage are done.
  func advance(_ completed: Int, of total: Int)
  /// The stage has ended with a one-line result.
  func end(_ result: String)
  /// Something worth a line of its own.
  func note(_ text: String)
}

/// Says nothing.
public struct SilentProgress: ProgressReporter {
  /// Makes a silent reporter.
  public init() {}
  /// Does nothing.
  public func begin(_ stage: String, total: Int) {}
  /// Does nothing.
  public func advance(_ completed: Int, of total: Int) {}
  /// Does nothing.
  public func end(_ result: String) {}
  /// Does nothing.
  public func note(_ text: String) {}
}

/// A request to stop, set from a signal handler or another thread.
public final class Cancellation: Sendable {
  private let requested = Atomic(false)

  /// Not yet requested.
  public init() {}

  /// Asks running verbs to stop at the next safe point. Async-signal-safe.
  public func request() { requested.store(true, ordering: .relaxed) }

  /// Throws `CancellationError` once stopping was asked for.
  public func check() throws {
    if requested.load(ordering: .relaxed) { throw CancellationError() }
  }
}
