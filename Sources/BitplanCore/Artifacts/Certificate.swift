/// What is known about how good an assignment is.
public struct Certificate: Hashable, Sendable, Codable {
  /// What the solver proved.
  public enum Status: String, Hashable, Sendable, Codable {
    /// No assignment within the budgets is better by more than the tolerance in ``relativeGap``.
    case optimal
    /// The assignment meets the budgets; time ran out before more was proved.
    case feasible
  }

  /// What the solver proved.
  public let status: Status
  /// Predicted loss of the assignment, in the sensitivity's metric.
  public let objective: Double
  /// No assignment within the budgets has a lower predicted loss than this.
  public let bound: Double
  /// `(objective − bound) / objective`; 0 for an objective of 0.
  public let relativeGap: Double
  /// Name and version of the solver.
  public let solver: String
  /// Seconds spent solving. Left out of files, which are the same bytes for the same inputs.
  public let seconds: Double?

  /// Makes a certificate; the gap follows from objective and bound.
  public init(status: Status, objective: Double, bound: Double, solver: String, seconds: Double?) {
    self.status = status
    self.objective = objective
    self.bound = bound
    self.relativeGap = objective > 0 ? max(0, (objective - bound) / objective) : 0
    self.solver = solver
    self.seconds = seconds
  }
}
