import BitplanCore
import BitplanSearch
import Testing

struct FrontTests {
  typealias Choice = AssignmentProblem.Choice

  static func problem(seed: UInt64, operators: Int, limits: Int) throws -> AssignmentProblem {
    var generator = SeededGenerator(state: seed)
    return try AssignmentProblem(
      choices: (0..<operators).map { _ in
        let weight = Double.random(in: 0.2...3, using: &generator)
        return (2...8).map { bits in
          Choice(
            loss: weight * [16, 7, 3, 1.2, 0.5, 0.2, 0.08][bits - 2]
              * .random(in: 0.8...1.2, using: &generator),
            uses: (0..<limits).map { _ in
              (Double(bits) * 1000 * .random(in: 0.9...1.1, using: &generator)).rounded()
            })
        }
      }, limits: (0..<limits).map { .init(name: "limit \($0)", value: Double(operators) * 6000) })
  }

  @Test("points are feasible, ordered, undominated, and their bounds hold")
  func pointsAreWhatTheySay() throws {
    let problem = try Self.problem(seed: 1, operators: 30, limits: 1)
    let front = try Search.front(of: problem, pointCount: 20)
    #expect(front.count > 15 && front.count <= 20)
    for point in front {
      #expect(problem.loss(of: point.selection) == point.loss)
      #expect(problem.uses(of: point.selection) == [point.use])
      #expect(point.bound <= point.loss)
      // Thirty operators leave gaps of a few per cent between bound and assignment at most.
      #expect(point.loss - point.bound <= 0.05 * point.loss)
    }
    for (a, b) in zip(front, front.dropFirst()) {
      #expect(a.use < b.use)
      #expect(a.loss > b.loss)
      // The bound of a larger size holds for a smaller one's assignment.
      #expect(b.bound <= a.loss)
    }
    let least = problem.choices.reduce(0.0) { $0 + $1.map { $0.uses[0] }.min()! }
    #expect(front.first?.use == least)
    #expect(front.last?.loss == problem.choices.reduce(0.0) { $0 + $1.map(\.loss).min()! })
  }

  @Test("small fronts agree with enumeration at their own sizes")
  func agreesWithEnumeration() throws {
    var exact = SearchOptions()
    exact.relativeGap = 0
    exact.timeLimitSeconds = 300
    for seed in 0..<8 {
      let problem = try Self.problem(seed: UInt64(seed), operators: 5, limits: 1)
      for point in try Search.front(of: problem, pointCount: 7) {
        let slice = try AssignmentProblem(
          choices: problem.choices, limits: [.init(name: "a", value: point.use)])
        let truth = try EnumeratingSolver().solve(slice, options: exact, incumbent: nil)
        #expect(point.bound <= truth.bound)
        #expect(point.loss >= truth.bound)
        // Local search over up to three of five operators is nearly enumeration.
        #expect(point.loss <= truth.bound * 1.02)
      }
    }
  }

  @Test func otherLimitsStay() throws {
    let problem = try Self.problem(seed: 3, operators: 20, limits: 2)
    let front = try Search.front(of: problem, along: 0, pointCount: 10)
    #expect(front.count >= 3)
    for point in front { #expect(problem.uses(of: point.selection)[1] <= problem.limits[1].value) }
  }

  @Test func isDeterministic() throws {
    let problem = try Self.problem(seed: 4, operators: 20, limits: 1)
    #expect(try Search.front(of: problem) == Search.front(of: problem))
  }

  @Test func refusesNonsense() throws {
    let problem = try Self.problem(seed: 5, operators: 2, limits: 1)
    #expect(throws: SearchError.self) { try Search.front(of: problem, along: 1) }
    #expect(throws: SearchError.self) { try Search.front(of: problem, along: -1) }
    #expect(throws: SearchError.self) { try Search.front(of: problem, pointCount: 1) }
  }
}
