/// The Lagrangian relaxation of a problem: limits become prices, and every operator then picks its
/// cheapest choice on its own.
///
/// For any prices λ ≥ 0, `Σ_operators min_choice (loss + Σ λ·use) − Σ λ·limit` is a lower bound of
/// the loss of every feasible assignment (Held and Karp 1971; Fisher 1981,
/// doi:10.1287/mnsc.27.1.1).
struct LagrangianFunction {
  /// The relaxation at one vector of prices.
  struct Value {
    /// The prices, scaled units.
    let multipliers: [Double]
    /// The bound as computed.
    let value: Double
    /// A bound that holds in spite of rounding.
    let bound: Double
    /// The cheapest choice of every operator (flat indices; the first of equals).
    let selection: [Int]
    /// Total scaled loss of `selection`.
    let loss: Double
    /// Total scaled uses of `selection`.
    let uses: [Double]
  }

  let problem: CompactProblem

  /// Evaluates the relaxation at `multipliers`, which must not be negative.
  func callAsFunction(_ multipliers: [Double]) -> Value {
    let m = problem.limitCount
    var selection: [Int] = []
    selection.reserveCapacity(problem.operatorCount)
    var total = 0.0
    problem.losses.withUnsafeBufferPointer { losses in
      problem.uses.withUnsafeBufferPointer { uses in
        multipliers.withUnsafeBufferPointer { prices in
          for i in 0..<problem.operatorCount {
            var best = problem.starts[i]
            var bestPrice = Double.infinity
            for choice in problem.starts[i]..<problem.starts[i + 1] {
              var price = losses[choice]
              for k in 0..<m { price += prices[k] * uses[choice * m + k] }
              if price < bestPrice { (best, bestPrice) = (choice, price) }
            }
            total += bestPrice
            selection.append(best)
          }
        }
      }
    }
    // A price has 2m roundings, the sum one an operator and the limits 2m more;
    // every term is at most `magnitude`, so the error is below (n + 4m + 4) · 2⁻⁵³ of it.
    var magnitude = total
    var value = total
    for (price, limit) in zip(multipliers, problem.limits) {
      value -= price * limit
      magnitude += abs(price * limit)
    }
    let margin = Double(problem.operatorCount + 4 * m + 4) * 0x1p-53 * magnitude
    return Value(
      multipliers: multipliers, value: value, bound: value - margin, selection: selection,
      loss: problem.loss(of: selection), uses: problem.uses(of: selection))
  }

  /// What every choice costs more than its operator's cheapest at these prices, by flat index.
  func reducedCosts(_ multipliers: [Double]) -> [Double] {
    let m = problem.limitCount
    var costs = [Double](repeating: 0, count: problem.choiceCount)
    for i in 0..<problem.operatorCount {
      let range = problem.starts[i]..<problem.starts[i + 1]
      var least = Double.infinity
      for choice in range {
        var price = problem.losses[choice]
        for k in 0..<m { price += multipliers[k] * problem.uses[choice * m + k] }
        costs[choice] = price
        least = min(least, price)
      }
      for choice in range { costs[choice] -= least }
    }
    return costs
  }
}
