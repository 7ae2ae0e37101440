package import BitplanCore
internal import BitplanSearch

/// Executes plans on text that nothing was measured on. What a loss is depends on the model.
package struct PlanExecutor {
  /// A loss with its standard error, in the sensitivity's metric.
  package struct Loss {
    package let mean: Double
    package let standardError: Double

    /// Makes a loss.
    package init(mean: Double, standardError: Double) {
      self.mean = mean
      self.standardError = standardError
    }
  }

  /// The text.
  package let text: SensitivityTable.Calibration
  /// The loss of a plan; with a width, that of the float model in which only the rows of this bit
  /// width are as the plan says.
  package let loss: (_ plan: Plan, _ onlyBitWidth: Int?) throws -> Loss

  /// Makes an executor.
  package init(
    text: SensitivityTable.Calibration, loss: @escaping (Plan, Int?) throws -> Loss
  ) {
    self.text = text
    self.loss = loss
  }
}

/// Search, execute, correct, search again.
///
/// A plan's loss is predicted as a sum, and sums are off where errors are large or meet. The loop
/// therefore executes each plan that it finds. Where prediction and measurement are further apart
/// than ``tolerance``, it measures what the rows of each bit width cost alone, scales these parts to
/// what they cost together, and searches with losses corrected by these factors. The best measured
/// plan is kept; a uniform format that is not larger and measures better takes its place.
struct ClosedLoop {
  /// Largest relative deviation that counts as agreement.
  static let tolerance = 0.1
  /// Most plans that are executed.
  static let roundLimit = 3
  /// Widths with less of the predicted loss than this are not measured alone.
  static let smallestShare = 0.05

  let inputs: PlanSearch.Inputs
  let problem: PlanProblem
  let options: SearchOptions
  let executor: PlanExecutor

  /// What came out of it.
  struct Result {
    let candidates: [PlanProblem.Candidate]
    let certificate: Certificate
    let shadowPrices: [Double]
    let ties: Plan.Ties?
    let factors: LossFactors
    let check: Plan.Check
  }

  private struct Tried {
    let solution: PlanProblem.Solution
    let candidates: [PlanProblem.Candidate]
    let factors: LossFactors
    let predicted: Double
    let measured: PlanExecutor.Loss

    var record: Plan.Check.Round {
      Plan.Check.Round(
        storedBytes: candidates.reduce(0) { $0 + $1.storedBytes }, predictedLoss: predicted,
        measuredLoss: measured.mean, measuredStandardError: measured.standardError)
    }
  }

  /// Runs the loop, starting from a solution of the uncorrected problem.
  func run(first: PlanProblem.Solution) throws -> Result {
    let rows = inputs.sensitivity.rows
    var tried: [Tried] = []
    var factors = LossFactors()
    for _ in 0..<Self.roundLimit {
      let corrected = problem.corrected(by: factors, rows)
      guard let solution = tried.isEmpty ? first : try searched(corrected) else { break }
      let known = tried.first { $0.solution.selection == solution.selection }
      let candidates = corrected.chosen(solution.selection)
      let measured: PlanExecutor.Loss
      if let known {
        measured = known.measured
      } else {
        measured = try executor.loss(plan(candidates, solution), nil)
      }
      let latest = Tried(
        solution: solution, candidates: candidates, factors: factors,
        predicted: corrected.loss(of: solution.selection), measured: measured)
      tried.append(latest)
      if known != nil || isDone(latest) || tried.count == Self.roundLimit { break }
      factors = try self.factors(solution, measured)
    }
    return try kept(tried)
  }

  /// The next plan, or `nil` where nothing meets the goal once losses are corrected: then the best so
  /// far has to do.
  private func searched(_ corrected: PlanProblem) throws -> PlanProblem.Solution? {
    do {
      return try corrected.best(inputs.budgets, goal: inputs.goal, options: options)
    } catch {
      guard error.kind == .infeasible, inputs.goal != nil else { throw error }
      return nil
    }
  }

  private func plan(
    _ candidates: [PlanProblem.Candidate], _ solution: PlanProblem.Solution
  ) -> Plan {
    PlanSearch.makePlan(inputs, problem, candidates, solution.certificate)
  }

  private func isDone(_ tried: Tried) -> Bool {
    let agrees = abs(tried.record.deviation) <= Self.tolerance
    guard let goal = inputs.goal else { return agrees }
    return agrees && tried.measured.mean <= goal.maximumLoss
  }

  /// One factor a width, so that the widths' losses add up to what the whole plan was measured at.
  private func factors(
    _ solution: PlanProblem.Solution, _ measured: PlanExecutor.Loss
  ) throws -> LossFactors {
    let chosen = problem.chosen(solution.selection)
    var parts: [Int: Double] = [:]
    for (index, candidate) in chosen.enumerated() {
      for (width, loss) in problem.lossByWidth(candidate, index, inputs.sensitivity.rows) {
        parts[width, default: 0] += loss
      }
    }
    let total = parts.values.sorted().reduce(0, +)
    guard total > 0 else { return LossFactors() }
    let large = parts.filter { $0.value >= Self.smallestShare * total }.keys.sorted()
    var alone: [Int: Double] = [:]
    for width in large where large.count > 1 {
      let loss = try executor.loss(plan(chosen, solution), width)
      alone[width] = Self.clamped(loss.mean / (parts[width] ?? total))
    }
    let separate = LossFactors(alone)
    let sum = parts.sorted { $0.key < $1.key }.reduce(0) {
      $0 + $1.value * separate.factor(bitWidth: $1.key)
    }
    // A measurement below what every plan pays says that the rest is small.
    let rest = max(measured.mean - problem.commonLoss, 0.1 * measured.mean)
    guard sum > 0, rest > 0 else { return LossFactors() }
    let scaled = separate.scaled(by: rest / sum, widths: problem.widths)
    return LossFactors(scaled.byWidth.mapValues(Self.clamped))
  }

  private static func clamped(_ factor: Double) -> Double { min(max(factor, 0.05), 20) }

  // MARK: What is kept

  private func kept(_ tried: [Tried]) throws -> Result {
    var best = 0
    for index in tried.indices.dropFirst() where isBetter(tried[index], than: tried[best]) {
      best = index
    }
    let winner = tried[best]
    let uniform = try uniform(below: winner)
    var check = Plan.Check(
      text: executor.text, rounds: tried.map(\.record), keptRound: best,
      uniform: uniform.map {
        Plan.Check.Uniform(
          format: $0.format, storedBytes: $0.tried.record.storedBytes,
          measuredLoss: $0.tried.measured.mean)
      },
      lossFactors: [])
    var final = winner
    if let uniform, isBetter(uniform.tried, than: winner) {
      final = uniform.tried
      check.keptRound = nil
    }
    let (factors, candidates, certificate) = settled(final)
    check.lossFactors = factors.record
    return Result(
      candidates: candidates, certificate: certificate,
      shadowPrices: final.solution.shadowPrices, ties: final.solution.ties, factors: factors,
      check: check)
  }

  /// Whether one measured plan is the better answer: the one that keeps to the goal's loss, then the
  /// one with less of what is minimised.
  private func isBetter(_ a: Tried, than b: Tried) -> Bool {
    guard let goal = inputs.goal else { return a.measured.mean < b.measured.mean }
    let (holdsA, holdsB) = (
      a.measured.mean <= goal.maximumLoss, b.measured.mean <= goal.maximumLoss
    )
    if holdsA != holdsB { return holdsA }
    guard holdsA else { return a.measured.mean < b.measured.mean }
    func amount(_ tried: Tried) -> Double {
      tried.candidates.reduce(0) { $0 + problem.use($1, goal.minimized) }
    }
    return amount(a) < amount(b)
  }

  /// The uniform format that is predicted to lose least among those within the budgets that take no
  /// more bytes than `winner`, executed.
  private func uniform(below winner: Tried) throws -> (format: WeightFormat, tried: Tried)? {
    let corrected = problem.corrected(by: winner.factors, inputs.sensitivity.rows)
    let bytes = winner.record.storedBytes
    var best: (format: WeightFormat, candidates: [PlanProblem.Candidate], loss: Double)?
    for format in inputs.formats ?? inputs.sensitivity.options.formats {
      guard let candidates = corrected.uniform(format),
        candidates.reduce(0, { $0 + $1.storedBytes }) <= bytes,
        try corrected.fits(candidates, inputs.budgets)
      else { continue }
      let loss = candidates.reduce(corrected.commonLoss) { $0 + $1.loss }
      if loss < best?.loss ?? .infinity { best = (format, candidates, loss) }
    }
    guard let best else { return nil }
    let proved = winner.solution.certificate
    let objective =
      inputs.goal.map { goal in
        goal.minimized == .storedBytes
          ? Double(best.candidates.reduce(0) { $0 + $1.storedBytes })
          : corrected.budgetValue(
            best.candidates.reduce(0) { $0 + corrected.use($1, goal.minimized) }, goal.minimized)
      } ?? best.loss
    let solution = PlanProblem.Solution(
      selection: [],
      certificate: Certificate(
        status: .feasible, objective: objective, bound: min(proved.bound, objective),
        solver: proved.solver, seconds: nil),
      shadowPrices: winner.solution.shadowPrices)
    let measured = try executor.loss(plan(best.candidates, solution), nil)
    return (
      best.format,
      Tried(
        solution: solution, candidates: best.candidates, factors: winner.factors,
        predicted: best.loss, measured: measured)
    )
  }

  /// The prediction that a kept plan carries: its own where it held, else scaled to what was
  /// measured. Scaling all losses leaves the order of plans, and so the proof, as it was.
  private func settled(
    _ tried: Tried
  ) -> (LossFactors, [PlanProblem.Candidate], Certificate) {
    let cost = problem.commonLoss
    let sum = tried.predicted - cost
    guard abs(tried.record.deviation) > Self.tolerance, sum > 0 else {
      return (tried.factors, tried.candidates, tried.solution.certificate)
    }
    let factor = max(tried.measured.mean - cost, 0.1 * tried.measured.mean) / sum
    let candidates = tried.candidates.map { candidate in
      var copy = candidate
      copy.loss *= factor
      copy.standardError *= factor
      return copy
    }
    let proved = tried.solution.certificate
    var certificate = proved
    if inputs.goal == nil {
      let objective = cost + (proved.objective - cost) * factor
      certificate = Certificate(
        status: proved.status, objective: objective,
        bound: min(objective, cost + (proved.bound - cost) * factor), solver: proved.solver,
        seconds: nil)
    }
    return (tried.factors.scaled(by: factor, widths: problem.widths), candidates, certificate)
  }
}

extension PlanProblem {
  /// One format wherever the rules leave a choice, or `nil` where some operator cannot have it.
  func uniform(_ format: WeightFormat) -> [Candidate]? {
    var result: [Candidate] = []
    for row in wholes {
      if let candidate = row.first(where: { $0.formats[0] == format }) {
        result.append(candidate)
      } else if row.count == 1 {
        result.append(row[0])
      } else {
        return nil
      }
    }
    return result
  }

  /// Whether candidates meet all budgets.
  func fits(_ chosen: [Candidate], _ budgets: [Budget]) throws(PipelineError) -> Bool {
    for budget in budgets {
      let sum = chosen.reduce(0.0) { $0 + use($1, budget.kind) }
      guard sum <= (try limit(budget)).value else { return false }
    }
    return true
  }
}
