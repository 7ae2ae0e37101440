import BitplanCore
import BitplanSearch
import BitplanSolver
import BitplanTestSupport
import Testing

/// GLPK on its own, without the reduction in front of it.
struct GLPKSolverTests {
  static let exact: SearchOptions = {
    var options = SearchOptions()
    options.relativeGap = 0
    options.timeLimitSeconds = 300
    return options
  }()

  @Test func nameHasAVersion() {
    let name = GLPKSolver().name
    #expect(name.hasPrefix("GLPK "))
    #expect(name.dropFirst(5).first?.isNumber == true)
  }

  @Test("agrees with exhaustive search, with and without an incumbent", arguments: 0...3)
  func agreesWithEnumeration(_ limits: Int) throws {
    var generator = SeededGenerator(state: 500 + UInt64(limits))
    for _ in 0..<100 {
      let problem = try SyntheticProblems.small(
        operators: Int.random(in: 1...6, using: &generator), choices: 5, limits: limits,
        generator: &generator)
      let truth = Enumeration(problem).optimum
      let cold = try GLPKSolver().solve(problem, options: Self.exact, incumbent: nil)
      #expect(cold.isOptimal)
      if let truth {
        #expect(problem.loss(of: cold.selection) == truth)
        #expect(problem.isFeasible(cold.selection))
        #expect(cold.bound <= truth)
        // From the optimum itself: nothing better is found, and that is proved.
        let warm = try GLPKSolver().solve(problem, options: Self.exact, incumbent: cold.selection)
        #expect(problem.loss(of: warm.selection) == truth)
        #expect(warm.isOptimal && warm.bound <= truth)
      } else {
        #expect(cold.selection.isEmpty)
        #expect(cold.bound == .infinity)
      }
    }
  }

  @Test("a gap that was asked for and reached is proved", arguments: [0.05, 0.3])
  func reachesTheGap(_ gap: Double) throws {
    var generator = SeededGenerator(state: 510)
    var options = Self.exact
    options.relativeGap = gap
    for _ in 0..<100 {
      let problem = try SyntheticProblems.small(
        operators: 6, choices: 5, limits: 2, generator: &generator)
      guard let truth = Enumeration(problem).optimum else { continue }
      let answer = try GLPKSolver().solve(problem, options: options, incumbent: nil)
      #expect(answer.isOptimal)
      #expect(answer.bound <= truth)
      #expect(problem.loss(of: answer.selection) * (1 - gap * (1 + 1e-9)) <= answer.bound)
    }
  }

  @Test("an improvable incumbent is improved")
  func improvesTheIncumbent() throws {
    let problem = try AssignmentProblem(
      choices: (0..<10).map { i in
        [.init(loss: Double(i + 1), uses: [0]), .init(loss: 0, uses: [1])]
      }, limits: [.init(name: "slots", value: 4)])
    let worst = [Int](repeating: 0, count: 10)
    let answer = try GLPKSolver().solve(problem, options: Self.exact, incumbent: worst)
    // 1 + 2 + … + 6: the four largest are paid for.
    #expect(problem.loss(of: answer.selection) == 21)
    #expect(answer.isOptimal)
  }

  @Test("an incumbent that breaks a limit is refused")
  func refusesInfeasibleIncumbent() throws {
    let problem = try AssignmentProblem(
      choices: [[.init(loss: 0, uses: [2]), .init(loss: 1, uses: [1])]],
      limits: [.init(name: "a", value: 1)])
    #expect(throws: SearchError.self) {
      try GLPKSolver().solve(problem, options: Self.exact, incumbent: [0])
    }
    #expect(throws: SearchError.self) {
      try GLPKSolver().solve(problem, options: Self.exact, incumbent: [])
    }
  }

  @Test("a limit that is one byte short of an assignment excludes it")
  func doesNotTrustTolerances() throws {
    // 1 byte in 8e9 is far below GLPK's feasibility tolerance.
    let choices = (0..<8).map { i in
      [
        AssignmentProblem.Choice(loss: 1, uses: [1e9]),
        AssignmentProblem.Choice(loss: 2 + Double(i) / 16, uses: [5e8]),
      ]
    }
    let problem = try AssignmentProblem(
      choices: choices, limits: [.init(name: "bytes", value: 8e9 - 1)])
    let answer = try GLPKSolver().solve(problem, options: Self.exact, incumbent: nil)
    #expect(problem.isFeasible(answer.selection))
    #expect(problem.loss(of: answer.selection) == 9)
    // Excluding the assignment is exact; tightening the limit would not be.
    #expect(answer.isOptimal)
    #expect(answer.bound <= 9)
    let result = try Search.solve(problem, solver: GLPKSolver(), options: Self.exact)
    #expect(result.certificate.objective == 9)
    try CertificateChecker.check(result, of: problem)
  }

  @Test("numbers of any size are solved, not passed on to GLPK's asserts")
  func extremeScales() throws {
    typealias Choice = AssignmentProblem.Choice
    let tiny = [Choice(loss: 1e-300, uses: [1, 1e-300]), Choice(loss: 2e-300, uses: [0, 0])]
    let huge = [Choice(loss: 1e290, uses: [1, 1e290]), Choice(loss: 2e290, uses: [0, 0])]
    let flat = [Choice(loss: 5, uses: [0, 3]), Choice(loss: 5, uses: [0, 3])]
    for choices in [[tiny, tiny], [huge, huge], [tiny, huge], [huge, flat], [flat, tiny]] {
      for limits in [[1.0, 1e299], [0, 0], [1, 1e290], [2, 1e-300], [-1e299, 1]] {
        let problem = try AssignmentProblem(
          choices: choices, limits: zip(["a", "b"], limits).map { .init(name: $0, value: $1) })
        let truth = Enumeration(problem).optimum
        let answer = try GLPKSolver().solve(problem, options: Self.exact, incumbent: nil)
        if let truth {
          // A loss far below the total is below the solver's tolerance.
          #expect(problem.isFeasible(answer.selection))
          #expect(problem.loss(of: answer.selection) <= truth * (1 + 1e-9))
          #expect(answer.bound <= truth)
        } else {
          #expect(answer.selection.isEmpty)
        }
      }
    }
  }

  @Test("several threads solve at once")
  func worksOnManyThreads() async throws {
    let problem = try SyntheticProblems.perFormat(
      shapes: SyntheticProblems.shapes(layers: 2, width: 256), formats: WeightFormat.evenSteps,
      tightness: [0.3, 0.4], seed: 4)
    let expected = try GLPKSolver().solve(problem, options: SearchOptions(), incumbent: nil)
    try await withThrowingTaskGroup(of: [Int].self) { group in
      for _ in 0..<8 {
        group.addTask {
          try GLPKSolver().solve(problem, options: SearchOptions(), incumbent: nil).selection
        }
      }
      for try await selection in group { #expect(selection == expected.selection) }
    }
  }
}
