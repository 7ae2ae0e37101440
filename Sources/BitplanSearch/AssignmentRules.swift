/// What a user or a runtime demands of some operators, whatever it costs.
///
/// Rules restrict a problem before it is solved: they are not part of the integer program, so every
/// proof about the restricted problem stands.
public struct AssignmentRules: Hashable, Sendable {
  /// Operators that match `pattern` may only have choices with one of `labels`.
  public struct Pin: Hashable, Sendable {
    /// Which operators.
    public let pattern: GlobPattern
    /// The labels allowed, such as format identifiers.
    public let labels: Set<String>

    /// Makes a pin, such as `lm_head` = `int8_g128s`.
    public init(_ pattern: String, to labels: Set<String>) {
      self.pattern = GlobPattern(pattern)
      self.labels = labels
    }
  }

  /// Operators that match `pattern` may not have choices with any of `labels`.
  public struct Exclusion: Hashable, Sendable {
    /// Which operators.
    public let pattern: GlobPattern
    /// The labels ruled out.
    public let labels: Set<String>

    /// Makes an exclusion, such as no `int2_g64` in `*.down_proj`.
    public init(_ pattern: String, from labels: Set<String>) {
      self.pattern = GlobPattern(pattern)
      self.labels = labels
    }
  }

  /// Operators that must share one choice: those that match one of `patterns` where the wildcards
  /// stand for the same text. `*.q_proj`, `*.k_proj` and `*.v_proj` join the three of each layer.
  public struct Group: Hashable, Sendable {
    /// One pattern for every member.
    public let patterns: [GlobPattern]

    /// Makes a group rule.
    public init(_ patterns: [String]) { self.patterns = patterns.map(GlobPattern.init) }

    /// Query, key and value projections of a layer.
    public static let qkv = Group(["*.q_proj", "*.k_proj", "*.v_proj"])
    /// The two halves of a gated feed-forward layer.
    public static let gateUp = Group(["*.gate_proj", "*.up_proj"])
  }

  /// Every pin that matches an operator applies.
  public var pins: [Pin]
  /// Every exclusion that matches an operator applies.
  public var exclusions: [Exclusion]
  /// Groups that share a member become one.
  public var groups: [Group]

  /// Makes rules; none by default.
  public init(pins: [Pin] = [], exclusions: [Exclusion] = [], groups: [Group] = []) {
    self.pins = pins
    self.exclusions = exclusions
    self.groups = groups
  }

  /// Restricts `problem`.
  ///
  /// - Parameters:
  ///   - names: the operators' names, in the problem's order, each once.
  ///   - labels: a label for every choice of every operator, such as its format's identifier.
  ///     Members of a group share a label; where several choices of an operator have the same label,
  ///     the first of a label is joined with the first, the second with the second, and so on.
  /// - Throws: ``SearchError/invalidProblem(_:)`` where names or labels do not fit the problem, a
  ///   pattern matches no operator, or an operator or group is left without a choice.
  public func applied(
    to problem: AssignmentProblem, names: [String], labels: [[String]]
  ) throws(SearchError) -> RestrictedProblem {
    guard names.count == problem.choices.count, labels.count == names.count,
      zip(labels, problem.choices).allSatisfy({ $0.count == $1.count })
    else {
      throw .invalidProblem(
        "There are \(names.count) names and labels for \(labels.count) operators in a problem of "
          + "\(problem.choices.count). Give a name for every operator and a label for every choice."
      )
    }
    guard Set(names).count == names.count else {
      throw .invalidProblem("Two operators have the same name. Give every operator its own.")
    }
    let allowed = try allowedChoices(names: names, labels: labels)
    let members = try self.members(names: names)
    var merged: [[RestrictedProblem.Joined]] = []
    for group in members {
      let joined = RestrictedProblem.joined(group.map { (allowed[$0], labels[$0]) })
      guard !joined.isEmpty else {
        let list = group.map { "'\(names[$0])'" }.joined(separator: ", ")
        throw .invalidProblem(
          "Operators \(list) must share a choice, but no label is allowed for all of them. Drop the "
            + "group, or relax a pin or an exclusion.")
      }
      merged.append(joined)
    }
    return try RestrictedProblem(problem, members: members, joined: merged)
  }

  private func allowedChoices(names: [String], labels: [[String]]) throws(SearchError) -> [[Int]] {
    var allowed = labels.map { Array($0.indices) }
    for pin in pins {
      try restrict(&allowed, pin.pattern, names: names, rule: "pin to \(Self.list(pin.labels))") {
        pin.labels.contains(labels[$0][$1])
      }
    }
    for exclusion in exclusions {
      try restrict(
        &allowed, exclusion.pattern, names: names,
        rule: "exclusion of \(Self.list(exclusion.labels))"
      ) {
        !exclusion.labels.contains(labels[$0][$1])
      }
    }
    return allowed
  }

  private func restrict(
    _ allowed: inout [[Int]], _ pattern: GlobPattern, names: [String], rule: String,
    keep: (_ index: Int, _ choice: Int) -> Bool
  ) throws(SearchError) {
    var isUsed = false
    for (index, name) in names.enumerated() where pattern.matches(name) {
      isUsed = true
      allowed[index] = allowed[index].filter { keep(index, $0) }
      guard !allowed[index].isEmpty else {
        throw .invalidProblem(
          "After the \(rule) by '\(pattern)', operator '\(name)' has no choice left. Name a label "
            + "that it has, or relax another rule.")
      }
    }
    guard isUsed else {
      throw .invalidProblem(
        "The \(rule) by '\(pattern)' matches no operator. Operators have names such as "
          + "'\(names.first ?? "")'; '*' stands for any text.")
    }
  }

  /// Operators that belong together, in the order of their first member.
  private func members(names: [String]) throws(SearchError) -> [[Int]] {
    // The smallest index of an operator's group stands for the group.
    var roots = Array(names.indices)
    func root(_ index: Int) -> Int {
      var index = index
      while roots[index] != index { index = roots[index] }
      return index
    }
    for group in groups {
      var firstWith: [[String]: Int] = [:]
      for (index, name) in names.enumerated() {
        guard let captures = group.patterns.lazy.compactMap({ $0.captures(in: name) }).first else {
          continue
        }
        if let first = firstWith[captures] {
          let (a, b) = (root(first), root(index))
          roots[max(a, b)] = min(a, b)
        } else {
          firstWith[captures] = index
        }
      }
      guard !firstWith.isEmpty else {
        throw .invalidProblem(
          "The group of \(Self.list(Set(group.patterns.map(\.text)))) matches no operator. Drop it, "
            + "or correct its patterns.")
      }
    }
    var result: [[Int]] = []
    var positions: [Int: Int] = [:]
    for index in names.indices {
      if let position = positions[root(index)] {
        result[position].append(index)
      } else {
        positions[root(index)] = result.count
        result.append([index])
      }
    }
    return result
  }

  private static func list(_ texts: Set<String>) -> String {
    texts.sorted().map { "'\($0)'" }.joined(separator: ", ")
  }
}
