/// A multiple-choice problem: pick one choice for every operator so that the total loss is smallest
/// and every total use stays within its limit.
///
/// Totals are plain `Double` sums in the order of the operators. A selection meets a limit when
/// that very sum is at most the limit's value, so whoever recomputes it gets the same answer;
/// bytes are integers below 2⁵³ and therefore exact.
public struct AssignmentProblem: Hashable, Sendable {
  /// One thing that an operator can be: a format, or a point of its frontier.
  public struct Choice: Hashable, Sendable {
    /// Predicted loss, in the unit of the sensitivity's metric.
    public let loss: Double
    /// Use of every resource, in the order and the units of ``AssignmentProblem/limits``.
    public let uses: [Double]

    /// Makes a choice; numbers are checked by the problem.
    public init(loss: Double, uses: [Double]) {
      self.loss = loss
      self.uses = uses
    }
  }

  /// An upper limit of one total use.
  public struct Limit: Hashable, Sendable {
    /// For messages, such as `bits per weight`.
    public let name: String
    /// The largest total that is allowed, in the unit of the uses.
    public let value: Double

    /// Makes a limit; the number is checked by the problem.
    public init(name: String, value: Double) {
      self.name = name
      self.value = value
    }
  }

  /// The choices of every operator.
  public let choices: [[Choice]]
  /// The limits; none is allowed too.
  public let limits: [Limit]

  /// Checks and keeps a problem.
  ///
  /// - Throws: ``SearchError/invalidProblem(_:)`` where there is no operator, an operator has no
  ///   choice, a choice does not have one use for every limit, a loss or a use is negative or not
  ///   finite, a limit is not finite, or a total could overflow. A limit may be zero or negative
  ///   (a budget whose fixed costs are already too high); it then cannot be met.
  public init(choices: [[Choice]], limits: [Limit]) throws(SearchError) {
    guard !choices.isEmpty else {
      throw .invalidProblem(
        "The problem has no operators. Give at least one operator to choose for.")
    }
    for (index, limit) in limits.enumerated() where !limit.value.isFinite {
      throw .invalidProblem(
        "Limit \(index) ('\(limit.name)') is \(limit.value). Give a finite number, or leave the limit out."
      )
    }
    var largestLoss = 0.0
    var largestUses = [Double](repeating: 0, count: limits.count)
    for (index, operatorChoices) in choices.enumerated() {
      guard !operatorChoices.isEmpty else {
        throw .invalidProblem("Operator \(index) has no choices. Give it at least one format.")
      }
      var worstLoss = 0.0
      var worstUses = [Double](repeating: 0, count: limits.count)
      for (choiceIndex, choice) in operatorChoices.enumerated() {
        let place = "Choice \(choiceIndex) of operator \(index)"
        guard choice.uses.count == limits.count else {
          throw .invalidProblem(
            "\(place) has \(choice.uses.count) uses for \(limits.count) limits. Give one use for every limit."
          )
        }
        guard choice.loss.isFinite, choice.loss >= 0 else {
          throw .invalidProblem(
            "\(place) has loss \(choice.loss). Give a finite number that is not negative, or drop the choice."
          )
        }
        worstLoss = max(worstLoss, choice.loss)
        for (k, use) in choice.uses.enumerated() {
          guard use.isFinite, use >= 0 else {
            throw .invalidProblem(
              "\(place) uses \(use) of '\(limits[k].name)'. Give a finite number that is not negative, or drop the choice."
            )
          }
          worstUses[k] = max(worstUses[k], use)
        }
      }
      largestLoss += worstLoss
      for k in limits.indices { largestUses[k] += worstUses[k] }
    }
    guard (largestUses + [largestLoss]).allSatisfy({ $0 < 1e300 }) else {
      throw .invalidProblem(
        "The largest possible totals (loss \(largestLoss), uses \(largestUses)) are beyond 1e300. Use larger units."
      )
    }
    self.choices = choices
    self.limits = limits
  }

  /// Total loss of a selection (one choice index for every operator), summed in operator order.
  public func loss(of selection: [Int]) -> Double {
    var total = 0.0
    for (index, choice) in selection.enumerated() { total += choices[index][choice].loss }
    return total
  }

  /// Total uses of a selection, in the order of ``limits``, each summed in operator order.
  public func uses(of selection: [Int]) -> [Double] {
    var totals = [Double](repeating: 0, count: limits.count)
    for (index, choice) in selection.enumerated() {
      let uses = choices[index][choice].uses
      for k in totals.indices { totals[k] += uses[k] }
    }
    return totals
  }

  /// Whether `selection` names one existing choice for every operator and meets every limit.
  public func isFeasible(_ selection: [Int]) -> Bool {
    guard selection.count == choices.count,
      zip(selection, choices).allSatisfy({ $1.indices.contains($0) })
    else { return false }
    return zip(uses(of: selection), limits).allSatisfy { $0 <= $1.value }
  }
}
