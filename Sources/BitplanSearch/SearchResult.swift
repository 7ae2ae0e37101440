public import BitplanCore

/// An assignment and what is proved about it.
public struct SearchResult: Hashable, Sendable {
  /// Index of the picked choice, for every operator.
  public let selection: [Int]
  /// How good the selection is, with proof.
  public let certificate: Certificate
  /// Loss saved per unit that a limit is raised by, in the order of the limits, in units of loss
  /// per unit of the limit; never negative, 0 where a limit does not bind.
  ///
  /// These are the Lagrange multipliers λ of the linear relaxation's optimum. Anybody can check the
  /// bound they prove: `Σ_operators min_choice (loss + Σ λ·use) − Σ λ·limit` is no larger than the
  /// loss of any assignment within the limits.
  public let shadowPrices: [Double]
  /// What the stages of the search did, for reports and tests.
  public let statistics: SearchStatistics
}

/// Counts from the stages of a search. They are the same for the same problem and options, as long
/// as the time limit was not reached.
public struct SearchStatistics: Hashable, Sendable {
  /// Choices of the problem as given.
  public var choiceCount = 0
  /// Choices that no other choice of the same operator dominates.
  public var undominatedCount = 0
  /// Choices that the Lagrangian bound could not rule out, of operators with more than one left.
  public var coreChoiceCount = 0
  /// Operators with more than one choice left.
  public var coreOperatorCount = 0
  /// The bound of the Lagrangian relaxation, in units of loss.
  public var lagrangianBound = 0.0
  /// Loss of the best assignment found before the solver was called.
  public var heuristicObjective = 0.0
}
