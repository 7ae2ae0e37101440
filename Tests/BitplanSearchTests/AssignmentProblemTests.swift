import BitplanSearch
import Testing

struct AssignmentProblemTests {
  typealias Choice = AssignmentProblem.Choice
  typealias Limit = AssignmentProblem.Limit

  struct Hostile: Sendable, CustomTestStringConvertible {
    let testDescription: String
    let choices: [[Choice]]
    let limits: [Limit]
    /// What the message must name.
    let mentions: String
  }

  static let good = [[Choice(loss: 1, uses: [1])], [Choice(loss: 2, uses: [3])]]
  static let limit = [Limit(name: "bytes", value: 4)]

  static let hostile = [
    Hostile(testDescription: "no operators", choices: [], limits: limit, mentions: "no operators"),
    Hostile(
      testDescription: "an operator without choices", choices: [good[0], []], limits: limit,
      mentions: "Operator 1"),
    Hostile(
      testDescription: "loss is NaN", choices: [[Choice(loss: .nan, uses: [1])]], limits: limit,
      mentions: "loss nan"),
    Hostile(
      testDescription: "loss is negative", choices: [[Choice(loss: -1e-9, uses: [1])]],
      limits: limit, mentions: "-1e-09"),
    Hostile(
      testDescription: "loss is infinite", choices: [[Choice(loss: .infinity, uses: [1])]],
      limits: limit, mentions: "inf"),
    Hostile(
      testDescription: "use is NaN", choices: [[Choice(loss: 0, uses: [.nan])]], limits: limit,
      mentions: "'bytes'"),
    Hostile(
      testDescription: "use is negative", choices: [good[0], [Choice(loss: 0, uses: [-1])]],
      limits: limit, mentions: "operator 1"),
    Hostile(
      testDescription: "use is infinite", choices: [[Choice(loss: 0, uses: [.infinity])]],
      limits: limit, mentions: "inf"),
    Hostile(
      testDescription: "too few uses", choices: [[Choice(loss: 0, uses: [])]], limits: limit,
      mentions: "0 uses for 1 limits"),
    Hostile(
      testDescription: "too many uses", choices: [[Choice(loss: 0, uses: [1, 2])]], limits: limit,
      mentions: "2 uses for 1 limits"),
    Hostile(
      testDescription: "limit is NaN", choices: good, limits: [Limit(name: "bytes", value: .nan)],
      mentions: "'bytes'"),
    Hostile(
      testDescription: "limit is infinite", choices: good,
      limits: [Limit(name: "bytes", value: .infinity)], mentions: "inf"),
    Hostile(
      testDescription: "totals overflow",
      choices: [[Choice(loss: 1e308, uses: [1])], [Choice(loss: 1e308, uses: [1])]],
      limits: limit, mentions: "1e300"),
  ]

  @Test("a problem whose numbers make no sense is refused by name", arguments: hostile)
  func refusesHostileProblems(_ hostile: Hostile) {
    let error = #expect(throws: SearchError.self) {
      try AssignmentProblem(choices: hostile.choices, limits: hostile.limits)
    }
    guard case .invalidProblem(let text)? = error else {
      Issue.record("not an invalid problem: \(String(describing: error))")
      return
    }
    #expect(text.contains(hostile.mentions))
  }

  @Test func sumsInOperatorOrder() throws {
    // 0.1 + 0.2 + 0.3 rounds differently from 0.3 + 0.2 + 0.1.
    let choices = [0.1, 0.2, 0.3].map { [Choice(loss: $0, uses: [$0])] }
    let problem = try AssignmentProblem(choices: choices, limits: [Limit(name: "a", value: 0.6)])
    #expect(problem.loss(of: [0, 0, 0]) == 0.1 + 0.2 + 0.3)
    #expect(0.1 + 0.2 + 0.3 > 0.6)
    #expect(!problem.isFeasible([0, 0, 0]))
    let reversed = try AssignmentProblem(
      choices: choices.reversed(), limits: [Limit(name: "a", value: 0.6)])
    #expect(reversed.isFeasible([0, 0, 0]))
  }

  @Test func feasibilityRefusesSelectionsThatDoNotExist() throws {
    let problem = try AssignmentProblem(choices: Self.good, limits: Self.limit)
    #expect(problem.isFeasible([0, 0]))
    #expect(!problem.isFeasible([0]))
    #expect(!problem.isFeasible([0, 0, 0]))
    #expect(!problem.isFeasible([0, 1]))
    #expect(!problem.isFeasible([-1, 0]))
  }

  @Test func messagesSayWhatToDo() {
    let error = SearchError.infeasible(limit: "bytes", value: 3, smallestFeasible: 5)
    #expect("\(error)".contains("3.0"))
    #expect("\(error)".contains("at least 5.0"))
    #expect("\(error)".contains("'bytes'"))
  }
}
