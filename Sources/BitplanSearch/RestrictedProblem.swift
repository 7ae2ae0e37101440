/// A problem after rules were applied, and the way back.
public struct RestrictedProblem: Hashable, Sendable {
  /// The problem to solve: one operator for every group, choices as the rules allow.
  ///
  /// A group's uses are the sums of its members'. Sums in another order may round differently, so
  /// limits of uses that are not whole numbers stand lower by that rounding: every feasible selection
  /// of this problem is one of the problem as given.
  public let problem: AssignmentProblem
  /// Operators of the problem as given, by operator of ``problem``.
  public let members: [[Int]]
  private let joined: [[Joined]]

  /// Choice indices of the problem as given, one for every member.
  struct Joined: Hashable, Sendable {
    let choices: [Int]
  }

  init(
    _ whole: AssignmentProblem, members: [[Int]], joined: [[Joined]]
  ) throws(SearchError) {
    var choices: [[AssignmentProblem.Choice]] = []
    for (group, options) in zip(members, joined) {
      choices.append(
        options.map { option in
          let parts = zip(group, option.choices).map { whole.choices[$0][$1] }
          return AssignmentProblem.Choice(
            loss: parts.reduce(0) { $0 + $1.loss },
            uses: whole.limits.indices.map { k in parts.reduce(0) { $0 + $1.uses[k] } })
        })
    }
    let isMerged = members.contains { $0.count > 1 }
    let limits = whole.limits.enumerated().map { k, limit in
      let isExact =
        !isMerged
        || whole.choices.joined().allSatisfy {
          $0.uses[k] == $0.uses[k].rounded() && $0.uses[k] < 0x1p53 / Double(whole.choices.count)
        }
      // Two sums of n terms that are not negative differ by less than 2n · 2⁻⁵³ of the total.
      let rounding = isExact ? 0 : abs(limit.value) * Double(whole.choices.count + 2) * 0x1p-52
      return AssignmentProblem.Limit(name: limit.name, value: limit.value - rounding)
    }
    problem = try AssignmentProblem(choices: choices, limits: limits)
    self.members = members
    self.joined = joined
  }

  /// A selection of ``problem`` as one of the problem as given.
  public func expanded(_ selection: [Int]) -> [Int] {
    var result = [Int](repeating: 0, count: members.reduce(0) { $0 + $1.count })
    for (index, choice) in selection.enumerated() {
      for (member, original) in zip(members[index], joined[index][choice].choices) {
        result[member] = original
      }
    }
    return result
  }

  /// Joins the choices of several operators by label: the n-th choice of a label of each.
  static func joined(_ operators: [(allowed: [Int], labels: [String])]) -> [Joined] {
    func keys(_ allowed: [Int], _ labels: [String]) -> [(key: Key, choice: Int)] {
      var counts: [String: Int] = [:]
      var result: [(Key, Int)] = []
      for (choice, label) in labels.enumerated() {
        let key = Key(label: label, occurrence: counts[label, default: 0])
        counts[label, default: 0] += 1
        if allowed.contains(choice) { result.append((key, choice)) }
      }
      return result
    }
    let tables = operators.map { operatorChoices in
      Dictionary(
        uniqueKeysWithValues: keys(operatorChoices.allowed, operatorChoices.labels).map {
          ($0.key, $0.choice)
        })
    }
    return keys(operators[0].allowed, operators[0].labels).compactMap { entry in
      let choices = tables.compactMap { $0[entry.key] }
      return choices.count == tables.count ? Joined(choices: choices) : nil
    }
  }

  private struct Key: Hashable {
    let label: String
    let occurrence: Int
  }
}
