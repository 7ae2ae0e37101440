/// When a search may stop.
public struct SearchOptions: Hashable, Sendable {
  /// Wall-clock seconds after which the best assignment found so far is the answer, with its gap.
  ///
  /// An answer that is reached before this limit does not depend on the machine's speed.
  public var timeLimitSeconds: Double = 10
  /// An assignment is good enough when `(objective − bound) / objective` is at most this; 0 asks
  /// for the optimum.
  public var relativeGap: Double = 1e-4

  /// Ten seconds, 0.01 %.
  public init() {}

  /// The loss that an assignment must be below to be better than one of loss `objective` by more than
  /// the gap.
  package func threshold(below objective: Double) -> Double {
    objective * (1 - relativeGap * (1 - 1e-6))
  }

  /// - Throws: ``SearchError/invalidProblem(_:)`` where a value is not a number or is negative.
  func validate() throws(SearchError) {
    guard timeLimitSeconds >= 0 else {
      throw .invalidProblem(
        "The time limit is \(timeLimitSeconds) seconds. Give a number that is not negative.")
    }
    guard (0..<1).contains(relativeGap) else {
      throw .invalidProblem(
        "The relative gap is \(relativeGap). Give a number in 0..<1: 0.01 means within 1 %.")
    }
  }
}
