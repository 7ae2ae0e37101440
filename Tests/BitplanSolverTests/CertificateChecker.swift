import BitplanCore
import BitplanSearch
import Testing

/// Recomputes, from the problem alone, everything that a result claims.
enum CertificateChecker {
  /// What a claim says that the problem contradicts.
  struct Contradiction: Error, CustomStringConvertible {
    let description: String
  }

  static func check(_ result: SearchResult, of problem: AssignmentProblem) throws {
    func require(_ holds: Bool, _ text: String) throws {
      if !holds { throw Contradiction(description: text) }
    }
    let certificate = result.certificate
    try require(result.selection.count == problem.choices.count, "one choice for every operator")

    // Feasibility and objective: plain sums, in order, no tolerance.
    var loss = 0.0
    var uses = problem.limits.map { _ in 0.0 }
    for (choices, index) in zip(problem.choices, result.selection) {
      try require(choices.indices.contains(index), "choice \(index) does not exist")
      loss += choices[index].loss
      for k in uses.indices { uses[k] += choices[index].uses[k] }
    }
    for (use, limit) in zip(uses, problem.limits) {
      try require(use <= limit.value, "\(limit.name): \(use) exceeds \(limit.value)")
    }
    try require(loss == certificate.objective, "objective \(certificate.objective) is not \(loss)")

    // The prices prove the Lagrangian bound on their own.
    let prices = result.shadowPrices
    try require(prices.count == problem.limits.count, "one price for every limit")
    try require(prices.allSatisfy { $0 >= 0 && $0.isFinite }, "prices \(prices)")
    var bound = 0.0
    var magnitude = 0.0
    for choices in problem.choices {
      let least = choices.map { choice in
        choice.loss + zip(prices, choice.uses).reduce(0) { $0 + $1.0 * $1.1 }
      }.min()!
      bound += least
      magnitude += abs(least)
    }
    for (price, limit) in zip(prices, problem.limits) {
      bound -= price * limit.value
      magnitude += abs(price * limit.value)
    }
    // Both sides round: n + a few additions of terms no larger than `magnitude`.
    let rounding = Double(4 * problem.choices.count + 40) * 0x1p-52 * magnitude
    try require(bound <= certificate.objective + rounding, "bound above the objective")
    try require(
      abs(result.statistics.lagrangianBound - bound) <= rounding,
      "the prices give \(bound), the result says \(result.statistics.lagrangianBound)")
    try require(certificate.bound <= certificate.objective, "bound above the objective")
    try require(
      certificate.bound >= result.statistics.lagrangianBound
        || certificate.bound == certificate.objective,
      "the stated bound is weaker than the one the prices prove")
    let gap =
      certificate.objective > 0
      ? max(0, (certificate.objective - certificate.bound) / certificate.objective) : 0
    try require(gap == certificate.relativeGap, "gap \(certificate.relativeGap) is not \(gap)")
  }
}

/// All assignments of a small problem, one after the other.
struct Enumeration {
  /// The best loss within all limits; `nil` if there is no such assignment.
  private(set) var optimum: Double?
  /// The smallest total of every use under the other limits; `nil` if those cannot be met.
  private(set) var smallestUses: [Double?]

  init(_ problem: AssignmentProblem) {
    smallestUses = problem.limits.map { _ in nil }
    var selection = problem.choices.map { _ in 0 }
    while true {
      let uses = problem.uses(of: selection)
      let meets = zip(uses, problem.limits).map { $0 <= $1.value }
      if meets.allSatisfy({ $0 }) {
        let loss = problem.loss(of: selection)
        optimum = min(optimum ?? .infinity, loss)
      }
      for k in uses.indices
      where meets.indices.allSatisfy({ $0 == k || meets[$0] }) {
        smallestUses[k] = min(smallestUses[k] ?? .infinity, uses[k])
      }
      var position = 0
      while position < selection.count {
        selection[position] += 1
        if selection[position] < problem.choices[position].count { break }
        selection[position] = 0
        position += 1
      }
      if position == selection.count { return }
    }
  }
}
