// INTERFACE STUB.
public import BitplanCore
public import BitplanSearch

public struct GLPKSolver: Solver {
  public init() {}
  public var name: String { "GLPK" }
  public func solve(_ problem: AssignmentProblem, options: SearchOptions, incumbent: [Int]?) throws(SearchError) -> (selection: [Int], bound: Double, isOptimal: Bool) { fatalError() }
}
