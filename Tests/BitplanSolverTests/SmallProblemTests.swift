import BitplanCore
import BitplanSearch
import BitplanSolver
import BitplanTestSupport
import Testing

/// Small problems, against every assignment there is.
struct SmallProblemTests {
  static let exact: SearchOptions = {
    var options = SearchOptions()
    options.relativeGap = 0
    options.timeLimitSeconds = 300
    return options
  }()

  @Test("agrees with exhaustive search, feasible or not", arguments: 0...3)
  func agreesWithEnumeration(_ limits: Int) throws {
    var generator = SeededGenerator(state: 100 + UInt64(limits))
    var infeasible = 0
    for _ in 0..<200 {
      let problem = try SyntheticProblems.small(
        operators: Int.random(in: 1...6, using: &generator), choices: 5, limits: limits,
        generator: &generator)
      let truth = Enumeration(problem)
      switch solve(problem) {
      case .success(let result):
        // Whole numbers: equal means equal.
        #expect(result.certificate.objective == truth.optimum)
        #expect(result.certificate.status == .optimal)
        try CertificateChecker.check(result, of: problem)
      case .failure(.infeasible(let name, let value, let smallest)):
        infeasible += 1
        #expect(truth.optimum == nil)
        try checkSmallest(problem, name: name, value: value, smallest: smallest)
      case .failure(let error):
        throw error
      }
    }
    // The generator must give both kinds, or one half of this test tests nothing.
    #expect(limits == 0 || (20...180).contains(infeasible))
  }

  private func solve(_ problem: AssignmentProblem) -> Result<SearchResult, SearchError> {
    Result { () throws(SearchError) in
      try Search.solve(problem, solver: GLPKSolver(), options: Self.exact)
    }
  }

  /// With limits given in order, the one named is moved to `smallest` with the other limits kept as
  /// far as they can be met together: that must be feasible, and nothing below it.
  private func checkSmallest(
    _ problem: AssignmentProblem, name: String, value: Double, smallest: Double
  ) throws {
    let named = try #require(problem.limits.firstIndex { $0.name == name })
    #expect(problem.limits[named].value == value)
    #expect(smallest > value)
    var kept: [Int] = []
    for other in problem.limits.indices where other != named {
      if Enumeration(try restricted(problem, to: kept + [other])).optimum != nil {
        kept.append(other)
      }
    }
    let truth = Enumeration(try restricted(problem, to: kept + [named]))
    #expect(truth.smallestUses.last! == smallest)
    // Limits before the named one can be met together with each other, unless it fails alone.
    let alone = Enumeration(try restricted(problem, to: [named]))
    if alone.optimum != nil {
      let before = Array(0..<named)
      #expect(Enumeration(try restricted(problem, to: before)).optimum != nil)
      #expect(Enumeration(try restricted(problem, to: before + [named])).optimum == nil)
    }
  }

  private func restricted(_ problem: AssignmentProblem, to kept: [Int]) throws -> AssignmentProblem
  {
    try AssignmentProblem(
      choices: problem.choices.map { choices in
        choices.map { choice in .init(loss: choice.loss, uses: kept.map { choice.uses[$0] }) }
      }, limits: kept.map { problem.limits[$0] })
  }

  @Test("the smallest feasible value can be used as the limit")
  func smallestFeasibleIsFeasible() throws {
    var generator = SeededGenerator(state: 77)
    var tried = 0
    for _ in 0..<60 {
      // Fractions, so that sums round: the value must still work as a limit.
      let choices = (0..<8).map { _ in
        (0..<5).map { _ in
          AssignmentProblem.Choice(
            loss: .random(in: 0...1e-6, using: &generator),
            uses: [
              .random(in: 1e7...1e9, using: &generator),
              .random(in: 1e-6...1e-3, using: &generator),
            ])
        }
      }
      let least = choices.reduce(0.0) { $0 + $1.map { $0.uses[1] }.min()! }
      func problem(bytes: Double, seconds: Double) throws -> AssignmentProblem {
        try AssignmentProblem(
          choices: choices,
          limits: [.init(name: "bytes", value: bytes), .init(name: "seconds", value: seconds)])
      }
      let outcome = solve(try problem(bytes: 1e9, seconds: least * 1.05))
      if case .failure(.infeasible(let name, _, let smallest)) = outcome {
        tried += 1
        let raised =
          name == "bytes"
          ? try problem(bytes: smallest, seconds: least * 1.05)
          : try problem(bytes: 1e9, seconds: smallest)
        let result = try Search.solve(raised, solver: GLPKSolver(), options: Self.exact)
        try CertificateChecker.check(result, of: raised)
      }
    }
    #expect(tried > 40)
  }

  @Test("more room never gives a worse assignment, and the shadow price bounds what it gives")
  func slackHelps() throws {
    var generator = SeededGenerator(state: 9)
    for _ in 0..<60 {
      let problem = try SyntheticProblems.small(
        operators: 12, choices: 6, limits: 2, generator: &generator)
      guard let first = try? Search.solve(problem, solver: GLPKSolver(), options: Self.exact) else {
        continue
      }
      for k in 0..<2 {
        let limits = problem.limits.enumerated().map { index, limit in
          AssignmentProblem.Limit(name: limit.name, value: limit.value + (index == k ? 7 : 0))
        }
        let wider = try AssignmentProblem(choices: problem.choices, limits: limits)
        let second = try Search.solve(wider, solver: GLPKSolver(), options: Self.exact)
        #expect(second.certificate.objective <= first.certificate.objective)
        // Weak duality at the first problem's prices, up to rounding of whole numbers near 100.
        #expect(
          second.certificate.objective
            >= first.statistics.lagrangianBound - 7 * first.shadowPrices[k] - 1e-9)
      }
    }
  }

  @Test("the order of operators and choices does not change the objective")
  func orderDoesNotMatter() throws {
    var generator = SeededGenerator(state: 21)
    for _ in 0..<60 {
      let problem = try SyntheticProblems.small(
        operators: 10, choices: 6, limits: 3, generator: &generator)
      let shuffled = try AssignmentProblem(
        choices: problem.choices.map { $0.shuffled(using: &generator) }.shuffled(using: &generator),
        limits: problem.limits)
      let a = try? Search.solve(problem, solver: GLPKSolver(), options: Self.exact)
      let b = try? Search.solve(shuffled, solver: GLPKSolver(), options: Self.exact)
      #expect(a?.certificate.objective == b?.certificate.objective)
    }
  }

  @Test("losses near 1e-7 and uses from 1e-6 to 1e9 are solved to the optimum")
  func smallAndLargeUnits() throws {
    var generator = SeededGenerator(state: 31)
    for _ in 0..<40 {
      let choices = (0..<6).map { _ in
        (0..<5).map { _ in
          AssignmentProblem.Choice(
            loss: .random(in: 1e-9...1e-7, using: &generator),
            uses: [
              Double.random(in: 1e8...1e9, using: &generator).rounded(),
              .random(in: 1e-7...1e-5, using: &generator),
            ])
        }
      }
      let problem = try AssignmentProblem(
        choices: choices,
        limits: [.init(name: "bytes", value: 3.3e9), .init(name: "seconds", value: 3.1e-5)])
      let truth = Enumeration(problem).optimum
      let result = try? Search.solve(problem, solver: GLPKSolver(), options: Self.exact)
      if let truth, let result {
        // Summed in operator order on both sides, so even fractions agree to the bit, unless two
        // assignments are closer than GLPK's tolerance.
        #expect(abs(result.certificate.objective - truth) <= 1e-9 * truth)
        try CertificateChecker.check(result, of: problem)
      } else {
        #expect(truth == nil && result == nil)
      }
    }
  }

  @Test("equal problems give equal answers")
  func isDeterministic() throws {
    let problem = try SyntheticProblems.perFormat(
      shapes: SyntheticProblems.shapes(layers: 8, width: 512), formats: WeightFormat.evenSteps,
      tightness: [0.3, 0.3, 0.5], seed: 3)
    let a = try Search.solve(problem, solver: GLPKSolver())
    let b = try Search.solve(problem, solver: GLPKSolver())
    #expect(a.selection == b.selection)
    #expect(a.certificate.bound == b.certificate.bound)
    #expect(a.shadowPrices == b.shadowPrices)
  }
}
