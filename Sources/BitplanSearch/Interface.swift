// INTERFACE STUB: to be replaced by one file per type. Signatures are the contract.
public import BitplanCore

/// Multiple-choice problem: pick one choice for every operator; minimise total loss; keep every total use within its limit.
public struct AssignmentProblem: Sendable {
  public struct Choice: Hashable, Sendable {
    /// Predicted loss.
    public let loss: Double
    /// Use of every resource, in the order of `limits`.
    public let uses: [Double]
    public init(loss: Double, uses: [Double]) { self.loss = loss; self.uses = uses }
  }
  public struct Limit: Hashable, Sendable {
    /// For messages, such as `bits per weight`.
    public let name: String
    public let value: Double
    public init(name: String, value: Double) { self.name = name; self.value = value }
  }
  public let choices: [[Choice]]
  public let limits: [Limit]
  public init(choices: [[Choice]], limits: [Limit]) throws(SearchError) { self.choices = choices; self.limits = limits }
}

public enum SearchError: Error, Hashable, Sendable {
  case invalidProblem(String)
  /// No assignment meets `limit`; `smallestFeasible` is the smallest value of this limit that can be met with the other limits as they are.
  case infeasible(limit: String, value: Double, smallestFeasible: Double)
  case solverFailed(String)
}

public struct SearchOptions: Sendable {
  public var timeLimitSeconds: Double = 10
  public var relativeGap: Double = 1e-4
  public init() {}
}

public struct SearchResult: Sendable {
  /// Index of the picked choice, for every operator.
  public let selection: [Int]
  public let certificate: Certificate
  /// Loss saved per unit of each limit at the optimum (Lagrange multipliers), in the order of `limits`.
  public let shadowPrices: [Double]
}

/// Binary program: minimise `objective · x`, one choice per class, rows `≤`.
public protocol Solver: Sendable {
  var name: String { get }
  func solve(_ problem: AssignmentProblem, options: SearchOptions, incumbent: [Int]?) throws(SearchError) -> (selection: [Int], bound: Double, isOptimal: Bool)
}

public enum Search {
  /// Prunes, bounds, fixes, solves the core with `solver`, certifies.
  public static func solve(_ problem: AssignmentProblem, solver: any Solver, options: SearchOptions = SearchOptions()) throws(SearchError) -> SearchResult { fatalError() }
}
