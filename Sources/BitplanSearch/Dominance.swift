/// Removal of choices that another choice of the same operator makes pointless.
enum Dominance {
  /// Indices, ascending, of the choices that no other choice dominates.
  ///
  /// A choice is dominated when another one has no higher loss and no higher use of anything. Of
  /// equal choices the first one stays, so the result does not depend on anything but the input.
  ///
  /// - Complexity: O(n²·m) for `n` choices and `m` uses.
  static func undominated(_ choices: [AssignmentProblem.Choice]) -> [Int] {
    // In this order a choice can only be dominated by one before it.
    let order = choices.indices.sorted { a, b in
      let (x, y) = (choices[a], choices[b])
      if x.loss != y.loss { return x.loss < y.loss }
      for (u, v) in zip(x.uses, y.uses) where u != v { return u < v }
      return a < b
    }
    var kept: [Int] = []
    for candidate in order {
      let uses = choices[candidate].uses
      let isDominated = kept.contains { other in
        zip(choices[other].uses, uses).allSatisfy { $0 <= $1 }
      }
      if !isDominated { kept.append(candidate) }
    }
    return kept.sorted()
  }
}
