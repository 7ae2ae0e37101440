import BitplanCore
import BitplanSearch
import Foundation
import Testing

struct SearchTests {
  typealias Choice = AssignmentProblem.Choice
  typealias Limit = AssignmentProblem.Limit

  static let exact: SearchOptions = {
    var options = SearchOptions()
    options.relativeGap = 0
    options.timeLimitSeconds = 300
    return options
  }()

  /// A knapsack whose relaxation leaves a gap, so that the solver is needed.
  static func gappy() throws -> AssignmentProblem {
    try AssignmentProblem(
      choices: [3.0, 5, 7, 11, 13].map {
        [Choice(loss: $0, uses: [0]), Choice(loss: 0, uses: [$0 + 2])]
      },
      limits: [Limit(name: "room", value: 22)])
  }

  /// The same seeds as ever, whole numbers.
  static func random(_ generator: inout SeededGenerator, operators: Int, limits: Int) throws
    -> AssignmentProblem
  {
    let choices = (0..<operators).map { _ in
      (0..<Int.random(in: 1...4, using: &generator)).map { _ in
        Choice(
          loss: Double(Int.random(in: 0...30, using: &generator)),
          uses: (0..<limits).map { _ in Double(Int.random(in: 0...30, using: &generator)) })
      }
    }
    let values = (0..<limits).map { k in
      (choices.reduce(0.0) { $0 + $1.map { $0.uses[k] }.min()! } * 1.4).rounded(.up)
    }
    return try AssignmentProblem(
      choices: choices, limits: values.enumerated().map { Limit(name: "limit \($0)", value: $1) })
  }

  @Test("every stage keeps the optimum", arguments: 0...3)
  func agreesWithEnumeration(_ limits: Int) throws {
    var generator = SeededGenerator(state: 40 + UInt64(limits))
    for _ in 0..<150 {
      let problem = try Self.random(&generator, operators: 6, limits: limits)
      let truth = try EnumeratingSolver().solve(problem, options: Self.exact, incumbent: nil)
      let result = try? Search.solve(problem, solver: EnumeratingSolver(), options: Self.exact)
      #expect(result?.certificate.objective == (truth.selection.isEmpty ? nil : truth.bound))
      if let result {
        #expect(problem.isFeasible(result.selection))
        #expect(result.certificate.bound <= truth.bound)
        #expect(result.certificate.status == .optimal)
        #expect(result.statistics.lagrangianBound <= truth.bound)
        #expect(result.shadowPrices.allSatisfy { $0 >= 0 })
      }
    }
  }

  @Test("one large operator among small ones is branched on", arguments: 1...2)
  func branches(_ limits: Int) throws {
    var generator = SeededGenerator(state: 44 + UInt64(limits))
    var branched = 0
    for _ in 0..<60 {
      // Steps of the large operator are as large as all of the small ones together.
      func choices(_ count: Int, _ size: Double) -> [Choice] {
        (0..<count).map { step in
          Choice(
            loss: size * (pow(0.5, Double(step)) + .random(in: 0...0.05, using: &generator)),
            uses: (0..<limits).map { _ in
              (size * 64 * (Double(step) + .random(in: 0...0.3, using: &generator))).rounded()
            })
        }
      }
      let all = [choices(5, 40)] + (0..<6).map { _ in choices(4, 1) }
      let values = (0..<limits).map { k in
        all.reduce(0.0) { $0 + ($1.map { $0.uses[k] }.max() ?? 0) }
          * .random(in: 0.3...0.7, using: &generator)
      }
      let problem = try AssignmentProblem(
        choices: all,
        limits: values.enumerated().map { Limit(name: "limit \($0)", value: $1.rounded()) })
      let truth = try EnumeratingSolver().solve(problem, options: Self.exact, incumbent: nil)
      guard !truth.selection.isEmpty else { continue }
      let result = try Search.solve(problem, solver: EnumeratingSolver(), options: Self.exact)
      #expect(result.certificate.objective <= truth.bound * (1 + 1e-12))
      #expect(result.certificate.bound <= truth.bound * (1 + 1e-12))
      #expect(result.certificate.status == .optimal)
      if result.certificate.solver == "Lagrangian branch and bound" { branched += 1 }
    }
    #expect(branched >= 10)
  }

  @Test func withoutLimitsTheLowestLossWins() throws {
    let problem = try AssignmentProblem(
      choices: [
        [Choice(loss: 2, uses: []), Choice(loss: 1, uses: [])], [Choice(loss: 5, uses: [])],
      ],
      limits: [])
    let result = try Search.solve(problem, solver: EnumeratingSolver())
    #expect(result.selection == [1, 0])
    #expect(result.certificate.objective == 6)
    #expect(result.certificate.status == .optimal)
    #expect(result.shadowPrices == [])
  }

  @Test("of equal choices the first is picked and the rest are pruned")
  func tiesGoToTheFirst() throws {
    let same = Choice(loss: 1, uses: [1])
    let problem = try AssignmentProblem(
      choices: [[same, same, same], [Choice(loss: 3, uses: [2]), same, same]],
      limits: [Limit(name: "a", value: 2)])
    let result = try Search.solve(problem, solver: EnumeratingSolver())
    #expect(result.selection == [0, 1])
    #expect(result.statistics.choiceCount == 6)
    #expect(result.statistics.undominatedCount == 2)
  }

  @Test func dominanceNeedsLossAndEveryUse() throws {
    // Better in one use and equal in loss, but worse in the other use: both stay.
    let problem = try AssignmentProblem(
      choices: [
        [
          Choice(loss: 1, uses: [1, 3]), Choice(loss: 1, uses: [3, 1]),
          Choice(loss: 1, uses: [3, 3]),
        ]
      ],
      limits: [Limit(name: "a", value: 9), Limit(name: "b", value: 2)])
    let result = try Search.solve(problem, solver: EnumeratingSolver())
    #expect(result.statistics.undominatedCount == 2)
    #expect(result.selection == [1])
  }

  @Test("a loose limit has no price, a binding one has the price of its relaxation")
  func shadowPrices() throws {
    // Slopes per unit of room: 6, 4, 2. With 15 of 30 units the second is half bought.
    let problem = try AssignmentProblem(
      choices: [60.0, 40, 20].map {
        [Choice(loss: $0, uses: [0, 1]), Choice(loss: 0, uses: [10, 1])]
      },
      limits: [Limit(name: "room", value: 15), Limit(name: "loose", value: 1e6)])
    let result = try Search.solve(problem, solver: EnumeratingSolver(), options: Self.exact)
    #expect(result.certificate.objective == 60)
    #expect(abs(result.shadowPrices[0] - 4) < 1e-9)
    #expect(result.shadowPrices[1] == 0)
    // 120 at no room, less 60 for the first and half of 40.
    #expect(abs(result.statistics.lagrangianBound - 40) < 1e-9)
  }

  @Test("the relaxation is exact with several limits: weak duality is tight on a linear problem")
  func dualIsTight() throws {
    // Every operator can be split evenly by the relaxation, so its optimum is known: each of two
    // limits pays for half of the operators.
    let choices = (0..<10).map { _ in
      [
        Choice(loss: 10, uses: [0, 0]), Choice(loss: 0, uses: [2, 0]),
        Choice(loss: 0, uses: [0, 4]),
      ]
    }
    let problem = try AssignmentProblem(
      choices: choices, limits: [Limit(name: "a", value: 7), Limit(name: "b", value: 6)])
    let result = try Search.solve(problem, solver: EnumeratingSolver(), options: Self.exact)
    // 3.5 operators by a, 1.5 by b: 100 − 50.
    #expect(abs(result.statistics.lagrangianBound - 50) < 1e-7)
    #expect(result.certificate.objective == 60)
  }

  @Test("the limit that cannot be met is named with the smallest value that can")
  func namesTheLimit() throws {
    let choices = [
      [Choice(loss: 0, uses: [4, 1]), Choice(loss: 0, uses: [1, 4])],
      [Choice(loss: 0, uses: [5, 1]), Choice(loss: 0, uses: [2, 6])],
    ]
    func error(_ a: Double, _ b: Double) throws -> SearchError? {
      let problem = try AssignmentProblem(
        choices: choices, limits: [Limit(name: "a", value: a), Limit(name: "b", value: b)])
      return #expect(throws: SearchError.self) {
        try Search.solve(problem, solver: EnumeratingSolver())
      }
    }
    // Alone: a is at least 3, b at least 2. Together: (9, 2), (6, 5), (6, 7)…
    #expect(try error(2, 100) == .infeasible(limit: "a", value: 2, smallestFeasible: 3))
    #expect(try error(2, 5) == .infeasible(limit: "a", value: 2, smallestFeasible: 6))
    #expect(try error(100, 1) == .infeasible(limit: "b", value: 1, smallestFeasible: 2))
    #expect(try error(6, 4) == .infeasible(limit: "b", value: 4, smallestFeasible: 5))
    #expect(try error(-1, 100) == .infeasible(limit: "a", value: -1, smallestFeasible: 3))
    // Neither alone: the first is named, and the other cannot be kept.
    #expect(try error(2, 1) == .infeasible(limit: "a", value: 2, smallestFeasible: 3))
  }

  @Test("a limit that is met exactly is met", arguments: [1.0, 0.1, 1e-7, 1e9])
  func exactLimits(_ unit: Double) throws {
    var generator = SeededGenerator(state: 6)
    for _ in 0..<50 {
      let choices = (0..<7).map { _ in
        (0..<3).map { _ in
          Choice(
            loss: .random(in: 0...1, using: &generator),
            uses: [.random(in: 0...unit, using: &generator)])
        }
      }
      let least = choices.reduce(0.0) { $0 + $1.map { $0.uses[0] }.min()! }
      let problem = try AssignmentProblem(
        choices: choices, limits: [Limit(name: "a", value: least)])
      let result = try Search.solve(problem, solver: EnumeratingSolver())
      #expect(problem.uses(of: result.selection) == [least])
      let below = try AssignmentProblem(
        choices: choices, limits: [Limit(name: "a", value: least.nextDown)])
      #expect(
        throws: SearchError.infeasible(limit: "a", value: least.nextDown, smallestFeasible: least)
      ) { try Search.solve(below, solver: EnumeratingSolver()) }
    }
  }

  @Test("a solver's answer is not trusted")
  func checksTheSolver() throws {
    let problem = try Self.gappy()
    func solve(
      _ answer:
        @escaping @Sendable (AssignmentProblem, [Int]?) -> Result<
          ([Int], Double, Bool), SearchError
        >
    ) throws(SearchError) -> SearchResult {
      try Search.solve(problem, solver: ScriptedSolver(answer: answer), options: Self.exact)
    }
    // Breaks the limit.
    #expect(throws: SearchError.self) {
      try solve { core, _ in .success((core.choices.map { $0.count - 1 }, 0, true)) }
    }
    // Fails.
    #expect(throws: SearchError.solverFailed("out of memory")) {
      try solve { _, _ in .failure(.solverFailed("out of memory")) }
    }
    // Finds nothing and knows nothing: the assignment found before stands, with its gap.
    for bound in [-Double.infinity, .nan, 0] {
      let result = try solve { _, _ in .success(([], bound, false)) }
      #expect(problem.isFeasible(result.selection))
      #expect(result.certificate.status == .feasible)
      #expect(result.certificate.bound >= result.statistics.lagrangianBound)
      #expect(result.certificate.bound < result.certificate.objective)
    }
    // Has a worse assignment than its incumbent: the better one stays.
    let worse = try solve { core, _ in .success((core.choices.map { _ in 0 }, 0, false)) }
    #expect(worse.certificate.objective <= worse.statistics.heuristicObjective)
  }

  @Test("the solver gets an incumbent that meets the limits and an honest time limit")
  func passesTheIncumbent() throws {
    let problem = try Self.gappy()
    let solver = ScriptedSolver { core, incumbent in
      #expect(incumbent.map(core.isFeasible) ?? true)
      return .success((incumbent ?? [], -.infinity, false))
    }
    let result = try Search.solve(problem, solver: solver, options: Self.exact)
    #expect(result.certificate.solver == "scripted")
    #expect(result.statistics.coreOperatorCount > 0)
  }

  @Test(
    "options that are not numbers in range are refused", arguments: [-1.0, .nan, 1.0, .infinity])
  func refusesOptions(_ value: Double) throws {
    let problem = try Self.gappy()
    var gap = SearchOptions()
    gap.relativeGap = value
    #expect(throws: SearchError.self) {
      try Search.solve(problem, solver: EnumeratingSolver(), options: gap)
    }
    if value.isNaN || value < 0 {
      var time = SearchOptions()
      time.timeLimitSeconds = value
      #expect(throws: SearchError.self) {
        try Search.solve(problem, solver: EnumeratingSolver(), options: time)
      }
    }
  }

  @Test("an objective of zero is optimal without division")
  func zeroObjective() throws {
    let problem = try AssignmentProblem(
      choices: [
        [Choice(loss: 0, uses: [1])], [Choice(loss: 0, uses: [1]), Choice(loss: 4, uses: [0])],
      ],
      limits: [Limit(name: "a", value: 2)])
    let result = try Search.solve(problem, solver: EnumeratingSolver(), options: Self.exact)
    #expect(result.certificate.objective == 0)
    #expect(result.certificate.relativeGap == 0)
    #expect(result.certificate.status == .optimal)
  }

  @Test("uses of zero and a limit of zero are a problem like any other")
  func zeroLimit() throws {
    let problem = try AssignmentProblem(
      choices: [[Choice(loss: 3, uses: [0]), Choice(loss: 1, uses: [1])]],
      limits: [Limit(name: "a", value: 0)])
    #expect(try Search.solve(problem, solver: EnumeratingSolver()).selection == [0])
  }
}
