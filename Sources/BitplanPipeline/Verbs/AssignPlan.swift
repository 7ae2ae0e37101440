public import BitplanCore

/// A plan that nobody searched for: what studies hold the search against.
public enum GivenAssignment: Hashable, Sendable {
  /// One format everywhere.
  case uniform(WeightFormat)
  /// MixLLM's rule: the tenth of output features with the highest global salience in 8 bits, the
  /// rest in 4.
  case mixedRule
  /// Every operator in a random format, between two random bit widths.
  case random(seed: UInt64)

  /// Parses `uniform:int4_g64`, `mixllm` or `random:7`.
  public init?(parsing text: String) {
    let parts = text.split(separator: ":", maxSplits: 1).map(String.init)
    switch (parts.first, parts.dropFirst().first) {
    case ("uniform", let name?):
      guard let format = WeightFormat(identifier: name) else { return nil }
      self = .uniform(format)
    case ("mixllm", nil): self = .mixedRule
    case ("random", let seed?):
      guard let seed = UInt64(seed) else { return nil }
      self = .random(seed: seed)
    default: return nil
    }
  }
}

extension PlanSearch {
  /// The plan of a given assignment: nothing is searched for, so nothing is proved.
  static func plan(
    _ given: GivenAssignment, _ inputs: Inputs
  ) throws(PipelineError) -> Plan {
    let table = inputs.sensitivity
    let problem = try problem(inputs)
    let candidates: [PlanProblem.Candidate]
    switch given {
    case .uniform(let format):
      guard let uniform = problem.uniform(format) else {
        throw PipelineError(
          .invalidInput, "\(format) was not measured for every operator. Measure it first.")
      }
      candidates = uniform
    case .mixedRule:
      guard let rule = MixedRule.segments(table) else {
        throw PipelineError(
          .invalidInput,
          "MixLLM's rule needs 4-bit and 8-bit formats and the salience of rows: measure with "
            + "'--method salience' and without --formats.")
      }
      candidates = rule.enumerated().map { problem.candidate($1, of: $0, table.rows) }
    case .random(let seed):
      var generator = SeededGenerator(state: seed)
      let widths = Set(table.options.formats.map(\.bitWidth)).sorted().filter { $0 <= 6 }
      let ends = (0..<2).map { _ in widths.randomElement(using: &generator) ?? 16 }.sorted()
      candidates = problem.wholes.map { row in
        let between = row.filter { (ends[0]...ends[1]).contains($0.formats[0].bitWidth) }
        return between.randomElement(using: &generator) ?? row[row.count - 1]
      }
    }
    let loss = candidates.reduce(problem.commonLoss) { $0 + $1.loss }
    return makePlan(
      inputs, problem, candidates,
      Certificate(
        status: .feasible, objective: loss, bound: 0, solver: "none (given assignment)",
        seconds: nil))
  }
}

extension Workbench {
  /// Writes the plan of a given assignment; artifacts are made where they are missing.
  public func makePlan(
    _ request: PlanRequest, given: GivenAssignment
  ) throws(PipelineError) -> PlanOutcome {
    let source = try ModelSource(path: request.model)
    let output = planFile(request, source)
    var inputs = try searchInputs(request, source, planFile: output)
    inputs.budgets = []
    let plan = try PlanSearch.plan(given, inputs)
    try ArtifactOutput.write(plan, to: output)
    return PlanOutcome(plan: plan, file: output, solveSeconds: 0, shadowPrices: [])
  }
}
