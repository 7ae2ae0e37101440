import BitplanCore
import BitplanSearch
import Testing

struct GlobPatternTests {
  @Test(
    "patterns match whole names",
    arguments: [
      ("lm_head", "lm_head", true), ("lm_head", "model.lm_head", false), ("*", "", true),
      ("*.q_proj", "model.layers.0.self_attn.q_proj", true), ("*.q_proj", "q_proj", false),
      ("model.layers.?.*", "model.layers.3.mlp.up_proj", true),
      ("model.layers.?.*", "model.layers.13.mlp.up_proj", false), ("a*b*c", "aXbYbZc", true),
      ("a*b*c", "aXbYbZ", false), ("", "", true), ("", "a", false), ("?", "é", true),
    ])
  func matches(_ pattern: String, _ name: String, _ expected: Bool) {
    #expect(GlobPattern(pattern).matches(name) == expected)
  }

  @Test("a pattern of many stars does not take forever")
  func isNotExponential() {
    let name = String(repeating: "a", count: 200)
    #expect(!GlobPattern(String(repeating: "a*", count: 60) + "b").matches(name))
  }
}

struct AssignmentRulesTests {
  typealias Choice = AssignmentProblem.Choice

  static let names =
    (0..<2).flatMap { layer in
      ["q_proj", "k_proj", "v_proj", "o_proj"].map { "model.layers.\(layer).self_attn.\($0)" }
    } + ["lm_head"]
  static let formats = ["int2_g64", "int4_g64", "int8_g64"]

  static func problem(seed: UInt64, unit: Double) throws -> AssignmentProblem {
    var generator = SeededGenerator(state: seed)
    let choices = names.map { _ in
      [(16.0, 2.0), (1, 4), (0.1, 8)].map { loss, bits in
        let use = bits * .random(in: 90...110, using: &generator)
        return Choice(
          loss: loss * .random(in: 0.5...2, using: &generator),
          uses: [unit == 1 ? use.rounded() : use * unit])
      }
    }
    let room = choices.reduce(0.0) { $0 + $1[1].uses[0] }
    return try AssignmentProblem(choices: choices, limits: [.init(name: "bytes", value: room)])
  }

  static let labels = names.map { _ in formats }

  @Test("without rules nothing changes")
  func noRules() throws {
    let problem = try Self.problem(seed: 1, unit: 1)
    let restricted = try AssignmentRules().applied(
      to: problem, names: Self.names, labels: Self.labels)
    #expect(restricted.problem == problem)
    #expect(restricted.expanded([0, 1, 2, 0, 1, 2, 0, 1, 2]) == [0, 1, 2, 0, 1, 2, 0, 1, 2])
  }

  @Test(
    "the restricted optimum is the best of all assignments that keep the rules",
    arguments: [1.0, 1e-7])
  func agreesWithEnumeration(_ unit: Double) throws {
    let rules = AssignmentRules(
      pins: [.init("lm_head", to: ["int8_g64"])],
      exclusions: [.init("*.o_proj", from: ["int2_g64"])], groups: [.qkv])
    for seed in 0..<6 {
      let problem = try Self.problem(seed: UInt64(seed), unit: unit)
      let restricted = try rules.applied(to: problem, names: Self.names, labels: Self.labels)
      #expect(restricted.members == [[0, 1, 2], [3], [4, 5, 6], [7], [8]])
      var options = SearchOptions()
      options.relativeGap = 0
      options.timeLimitSeconds = 300
      let result = try Search.solve(
        restricted.problem, solver: EnumeratingSolver(), options: options)
      let selection = restricted.expanded(result.selection)
      #expect(problem.isFeasible(selection))

      // Every assignment of the problem as given, by brute force.
      var best = Double.infinity
      for code in 0..<19_683 {
        var rest = code
        let candidate = Self.names.map { _ -> Int in
          defer { rest /= 3 }
          return rest % 3
        }
        guard candidate[8] == 2, candidate[3] != 0, candidate[7] != 0,
          Set(candidate[0...2]).count == 1, Set(candidate[4...6]).count == 1,
          problem.isFeasible(candidate)
        else { continue }
        best = min(best, problem.loss(of: candidate))
      }
      // Losses are summed group by group on one side: nine roundings.
      #expect(abs(problem.loss(of: selection) - best) <= 16 * 0x1p-52 * best)
    }
  }

  @Test("groups that share a member become one")
  func overlappingGroups() throws {
    let problem = try Self.problem(seed: 1, unit: 1)
    let rules = AssignmentRules(groups: [
      .init(["*.0.*.q_proj", "*.0.*.k_proj"]), .init(["*.q_proj", "*.o_proj"]),
    ])
    let restricted = try rules.applied(to: problem, names: Self.names, labels: Self.labels)
    // The wildcards of `*.0.*.q_proj` stand for `model.layers` and `self_attn`.
    #expect(restricted.members == [[0, 1, 3], [2], [4, 7], [5], [6], [8]])
  }

  @Test("repeated labels are joined in order, and missing ones drop out")
  func repeatedLabels() throws {
    let problem = try AssignmentProblem(
      choices: [
        [1.0, 2, 3].map { Choice(loss: $0, uses: []) },
        [10.0, 20, 30].map { Choice(loss: $0, uses: []) },
      ], limits: [])
    let restricted = try AssignmentRules(groups: [.init(["a.*", "b.*"])]).applied(
      to: problem, names: ["a.x", "b.x"], labels: [["p", "q", "p"], ["p", "p", "r"]])
    #expect(
      restricted.problem.choices == [[Choice(loss: 11, uses: []), Choice(loss: 23, uses: [])]])
    #expect(restricted.expanded([1]) == [2, 1])
  }

  @Test("rules that fit nothing are refused and say why")
  func refusesNonsense() throws {
    let problem = try Self.problem(seed: 1, unit: 1)
    func refused(_ rules: AssignmentRules, mentions text: String) {
      let error = #expect(throws: SearchError.self) {
        try rules.applied(to: problem, names: Self.names, labels: Self.labels)
      }
      #expect(error.map { "\($0)".contains(text) } == true, "\(String(describing: error))")
    }
    refused(.init(pins: [.init("head", to: ["int8_g64"])]), mentions: "'head' matches no operator")
    refused(.init(pins: [.init("lm_head", to: ["int7"])]), mentions: "'lm_head' has no choice left")
    refused(.init(exclusions: [.init("*", from: Set(Self.formats))]), mentions: "no choice left")
    refused(.init(groups: [.init(["*.gate"])]), mentions: "matches no operator")
    refused(
      .init(
        pins: [.init("*.q_proj", to: ["int8_g64"]), .init("*.k_proj", to: ["int4_g64"])],
        groups: [.qkv]), mentions: "must share a choice")
    #expect(throws: SearchError.self) {
      try AssignmentRules().applied(to: problem, names: [], labels: [])
    }
    #expect(throws: SearchError.self) {
      try AssignmentRules().applied(
        to: problem, names: Self.names, labels: Self.names.map { _ in ["int2_g64"] })
    }
    #expect(throws: SearchError.self) {
      try AssignmentRules().applied(
        to: problem, names: Self.names.map { _ in "same" }, labels: Self.labels)
    }
  }
}
