/// The prices at which the Lagrangian bound is highest.
///
/// The bound is a concave piecewise linear function of a few prices. Its maximum is found by cutting
/// planes (Kelley 1960), solved from the dual side as column generation (Dantzig and Wolfe 1960): the
/// master program mixes whole assignments so that the mixture meets the limits, and has one row a
/// limit and one more, so its basis is a matrix of a few rows whatever the problem's size. The
/// method ends after finitely many steps with the optimum of the linear relaxation; with one limit it
/// is the secant method on the convex hull of total loss against total use.
struct LagrangianDual {
  /// The best relaxation found.
  private(set) var best: LagrangianFunction.Value
  /// Relaxations that were met on the way, in order; their selections are good starts for repair.
  private(set) var visited: [LagrangianFunction.Value]
  /// Value of the mixture of assignments; equal to `best.value` up to rounding once converged, and
  /// infinite where no mixture meets the limits.
  private(set) var relaxationValue: Double

  /// Steps after which the best bound so far is taken; far above what problems need.
  private static let stepLimit = 2000

  /// Steps that are taken in any case, so that the shortest time limit still has fair prices.
  private static let leastSteps = 50

  /// A column of the master program.
  private enum Column {
    case assignment(loss: Double, excess: [Double])
    case slack(Int)
    /// Stands for exceeding limit `k` at the highest price considered.
    case violation(Int)
  }

  /// Maximises the bound of `problem`.
  ///
  /// - Parameters:
  ///   - highestPrice: prices above this are not considered; scaled units.
  ///   - deadline: after it, the best so far is taken.
  init(_ problem: CompactProblem, highestPrice: Double = 1e7, deadline: Deadline) {
    let function = LagrangianFunction(problem: problem)
    let m = problem.limitCount
    let start = function([Double](repeating: 0, count: m))
    best = start
    visited = [start]
    relaxationValue = .infinity
    if m == 0 {
      relaxationValue = start.value
      return
    }

    func column(_ value: LagrangianFunction.Value) -> Column {
      .assignment(loss: value.loss, excess: zip(value.uses, problem.limits).map { $0 - $1 })
    }
    // Row 0: the mixture's weights sum to 1. Row 1 + k: excess of limit k + slack − violation = 0.
    func coefficients(_ column: Column) -> [Double] {
      switch column {
      case .assignment(_, let excess): return [1] + excess
      case .slack(let k): return (0...m).map { $0 == k + 1 ? 1 : 0 }
      case .violation(let k): return (0...m).map { $0 == k + 1 ? -1 : 0 }
      }
    }
    func cost(_ column: Column) -> Double {
      switch column {
      case .assignment(let loss, _): loss
      case .slack: 0
      case .violation: highestPrice
      }
    }

    var basis: [Column] = [column(start)]
    for k in 0..<m {
      basis.append(start.uses[k] > problem.limits[k] ? .violation(k) : .slack(k))
    }
    let rightSide = [1.0] + [Double](repeating: 0, count: m)

    for step in 0..<Self.stepLimit {
      if deadline.hasPassed, step >= Self.leastSteps { break }
      let matrix = basis.map(coefficients)
      // Columns of the basis are rows of `matrix`, so the duals solve `matrix · π = costs`.
      guard let duals = SmallLinearSystem.solve(matrix, basis.map(cost)),
        let weights = SmallLinearSystem.solveTransposed(matrix, rightSide)
      else { break }
      let masterValue = zip(weights, basis).reduce(0.0) { $0 + $1.0 * cost($1.1) }

      // Price out: slacks whose price would be negative, then the best new assignment.
      var entering: Column?
      var worst = -1e-12 * (1 + (duals.map(abs).max() ?? 0))
      for k in 0..<m {
        if -duals[k + 1] < worst { (entering, worst) = (.slack(k), -duals[k + 1]) }
        if highestPrice + duals[k + 1] < -1e-9 * highestPrice { entering = .violation(k) }
      }
      if entering == nil {
        let value = function(duals.dropFirst().map { max(0, -$0) })
        visited.append(value)
        if value.bound > best.bound { best = value }
        let isMixed = zip(weights, basis).contains { weight, column in
          if case .violation = column { weight > 1e-9 } else { false }
        }
        if value.value >= duals[0] - 1e-11 * (abs(duals[0]) + abs(value.value) + 1e-3) {
          relaxationValue = isMixed ? .infinity : masterValue
          break
        }
        entering = column(value)
      }
      guard let entering,
        let direction = SmallLinearSystem.solveTransposed(matrix, coefficients(entering))
      else { break }
      // The leaving column is the first whose weight falls to zero; of equals, the one with the
      // largest pivot, which keeps the basis well conditioned.
      var leaving: Int?
      var shortest = Double.infinity
      for row in 0...m where direction[row] > 1e-11 {
        let ratio = max(0, weights[row]) / direction[row]
        if ratio < shortest * (1 - 1e-12)
          || (ratio <= shortest * (1 + 1e-12) && direction[row] > direction[leaving ?? row])
          || leaving == nil
        {
          (leaving, shortest) = (row, ratio)
        }
      }
      guard let leaving else { break }
      basis[leaving] = entering
    }
  }
}

/// Dense linear systems of a few rows.
enum SmallLinearSystem {
  /// Solves `matrix · x = rightSide` by elimination with partial pivoting; `nil` if singular.
  static func solve(_ matrix: [[Double]], _ rightSide: [Double]) -> [Double]? {
    let n = rightSide.count
    var a = matrix
    var x = rightSide
    for column in 0..<n {
      var pivot = column
      for row in column..<n where abs(a[row][column]) > abs(a[pivot][column]) { pivot = row }
      guard abs(a[pivot][column]) > 1e-300 else { return nil }
      a.swapAt(column, pivot)
      x.swapAt(column, pivot)
      for row in column + 1..<n where a[row][column] != 0 {
        let factor = a[row][column] / a[column][column]
        for k in column..<n { a[row][k] -= factor * a[column][k] }
        x[row] -= factor * x[column]
      }
    }
    for row in stride(from: n - 1, through: 0, by: -1) {
      for k in row + 1..<n { x[row] -= a[row][k] * x[k] }
      x[row] /= a[row][row]
    }
    return x.allSatisfy(\.isFinite) ? x : nil
  }

  /// Solves `matrixᵀ · x = rightSide`.
  static func solveTransposed(_ matrix: [[Double]], _ rightSide: [Double]) -> [Double]? {
    let n = rightSide.count
    let transposed = (0..<n).map { row in (0..<n).map { matrix[$0][row] } }
    return solve(transposed, rightSide)
  }
}
