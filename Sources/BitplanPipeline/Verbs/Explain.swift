public import BitplanCore
internal import BitplanSearch
internal import Foundation

/// Why an operator of a plan has its width.
public struct PlanExplanation: Codable, Sendable {
  /// One way to store the operator.
  public struct Choice: Codable, Sendable {
    /// Formats and their rows, such as `int4_g64 ×192 + int6_g64 ×64`.
    public let formats: String
    /// Predicted loss, in the sensitivity's metric.
    public let loss: Double
    /// Standard error of ``loss``.
    public let standardError: Double
    /// Stored bytes.
    public let storedBytes: Int
    /// Decode seconds a token, where a profile is at hand.
    public let decodeSecondsPerToken: Double?
    /// Prefill seconds, where a profile is at hand.
    public let prefillSeconds: Double?
    /// Objective plus what the choice uses of the budgets at their prices: the search picks the
    /// least, as far as budgets come out even.
    public let pricedObjective: Double
    /// Whether the plan has it.
    public let isChosen: Bool
  }

  /// What one more unit of a budget would save.
  public struct Price: Codable, Sendable {
    /// The budget.
    public let kind: Budget.Kind
    /// Objective saved by one more unit of the budget.
    public let objectivePerUnit: Double
  }

  /// The operator's name.
  public let name: String
  /// Its rows and columns.
  public let shape: MatrixShape
  /// What its rows are demanded to be, if anything.
  public let demand: String?
  /// How the plan keeps its activations.
  public let activations: ActivationFormat
  /// What rounding its activations to 8 bits loses, in the sensitivity's metric, where it is known.
  public let eightBitActivationLoss: Double?
  /// Prices of the budgets.
  public let prices: [Price]
  /// All choices, the best first.
  public let choices: [Choice]
  /// If the operator's losses were at least so many times what was measured, it would take
  /// ``widerFormats``.
  public let widerAtLossFactor: Double?
  /// What it would take then.
  public let widerFormats: String?
  /// If the operator's losses were at most so many times what was measured, it would take
  /// ``narrowerFormats``.
  public let narrowerAtLossFactor: Double?
  /// What it would take then.
  public let narrowerFormats: String?
  /// Standard error of the operator's losses, relative.
  public let relativeStandardError: Double
  private let metric: SensitivityTable.Metric

  init(_ origin: PlanOrigin, index: Int, prices: [Double]) {
    let plan = origin.plan
    name = plan.operators[index].name
    shape = plan.operators[index].shape
    metric = plan.sensitivity.metric
    demand = Self.demand(plan.rules, name)
    activations = plan.operators[index].activations
    let problem = origin.problem
    eightBitActivationLoss = problem.activationCosts?[index]
    self.prices = zip(plan.budgets, prices).map { budget, price in
      // The search counts bytes and operators' seconds; people count what they asked for.
      let unit = problem.budgetValue(1, budget.kind) - problem.budgetValue(0, budget.kind)
      return Price(kind: budget.kind, objectivePerUnit: price / unit)
    }
    let chosen = origin.candidates[index]
    var seen: [SideBranch?: Set<RowFormats>] = [:]
    let all = ([chosen] + origin.problem.candidates[index] + origin.problem.wholes[index])
      .filter { seen[$0.branch, default: []].insert($0.rows).inserted }
    choices = all.map { candidate in
      Choice(
        formats: Self.formats(candidate), loss: candidate.loss,
        standardError: candidate.standardError, storedBytes: candidate.storedBytes,
        decodeSecondsPerToken: candidate.decodeSeconds, prefillSeconds: candidate.prefillSeconds,
        pricedObjective: origin.priced(candidate, prices),
        isChosen: candidate.isStored(as: chosen))
    }.sorted { ($0.pricedObjective, $0.storedBytes) < ($1.pricedObjective, $1.storedBytes) }
    relativeStandardError = chosen.loss > 0 ? chosen.standardError / chosen.loss : 0

    // At k times the loss a choice costs a + k·b; two choices meet where that is equal.
    var (wider, narrower): ((Double, String)?, (Double, String)?)
    let ownUse = origin.priced(chosen, prices, lossFactor: 0)
    let ownLoss = origin.priced(chosen, prices) - ownUse
    for candidate in all where !candidate.isStored(as: chosen) {
      let use = origin.priced(candidate, prices, lossFactor: 0)
      let loss = origin.priced(candidate, prices) - use
      guard loss != ownLoss else { continue }
      let factor = (use - ownUse) / (ownLoss - loss)
      guard factor.isFinite, factor > 0 else { continue }
      if loss < ownLoss, factor < wider?.0 ?? .infinity {
        wider = (factor, Self.formats(candidate))
      }
      if loss > ownLoss, factor > narrower?.0 ?? 0 {
        narrower = (factor, Self.formats(candidate))
      }
    }
    (widerAtLossFactor, widerFormats) = (wider?.0, wider?.1)
    (narrowerAtLossFactor, narrowerFormats) = (narrower?.0, narrower?.1)
  }

  private static func formats(_ candidate: PlanProblem.Candidate) -> String {
    let formats = candidate.formats
    let branch = candidate.branch.map { [$0.identifier] } ?? []
    let rows =
      formats.count > 1
      ? candidate.segments.map { "\($0.format.identifier) ×\($0.rowCount)" }
      : [formats[0].identifier]
    return (rows + branch).joined(separator: " + ")
  }

  private static func demand(_ rules: Plan.Rules?, _ name: String) -> String? {
    guard let rules else { return nil }
    let demands = PlanDemands(rules, names: [name])
    let (formats, isWhole) = demands.formats(of: name, wanted: WeightFormat.all)
    if formats.count < WeightFormat.all.count {
      return formats.count == 1
        ? "the plan's rules leave only \(formats[0])"
        : "the plan's rules leave \(formats.map(\.identifier).joined(separator: ", "))"
    }
    return isWhole ? "the plan's rules make it share a format with its neighbours" : nil
  }

  /// The explanation for a terminal.
  public var text: String {
    let metric = MetricName(metric)
    var lines = ["\(name), \(shape.outputFeatures)×\(shape.inputFeatures)"]
    if let demand { lines.append("Note: \(demand).") }
    let named = prices.filter { $0.objectivePerUnit > 0 }
    lines.append(
      named.isEmpty
        ? "No budget binds: the choice of the lowest loss wins."
        : "Prices: "
          + named.map { "\($0.kind.rawValue) \(Figures.significant($0.objectivePerUnit))" }
          .joined(separator: ", ") + " of the objective for one more unit of the budget.")
    let hasTimes = choices.contains { $0.decodeSecondsPerToken != nil }
    var table = TextTable([.left, .right, .right, .right, .right, .left])
    table.add(
      ["", metric.label, "bytes", hasTimes ? "decode, µs" : "", "with prices", ""])
    for (place, choice) in choices.enumerated() where place < 10 || choice.isChosen {
      table.add([
        choice.formats, ReportNumber.withError(choice.loss, choice.standardError, digits: 3),
        ReportNumber.grouped(choice.storedBytes),
        hasTimes
          ? ReportNumber.significant(choice.decodeSecondsPerToken.map { $0 * 1e6 }, 3) : "",
        ReportNumber.significant(choice.pricedObjective, 4), choice.isChosen ? "← the plan" : "",
      ])
    }
    lines += table.lines(width: 120)
    lines.append(contentsOf: changes)
    return lines.joined(separator: "\n")
  }

  private var changes: [String] {
    func inErrors(_ factor: Double) -> String {
      guard relativeStandardError > 0 else { return "" }
      let errors = abs(factor - 1) / relativeStandardError
      return " (\(Figures.significant(errors, digits: 2)) standard errors away)"
    }
    var lines: [String] = []
    if let loss = eightBitActivationLoss, loss > 0 {
      lines.append(
        "Rounding its activations to 8 bits "
          + (activations == .int16
            ? "would lose \(Figures.significant(loss)): they have 16."
            : "loses \(Figures.significant(loss)), which is not in the choices' losses."))
    }
    if let factor = widerAtLossFactor, let formats = widerFormats {
      lines.append(
        "If its losses were \(Figures.significant(factor)) × what was measured\(inErrors(factor)), it "
          + "would take \(formats).")
    }
    if let factor = narrowerAtLossFactor, let formats = narrowerFormats {
      lines.append(
        "If its losses were \(Figures.significant(factor)) × what was measured\(inErrors(factor)), it "
          + "would take \(formats).")
    }
    return lines
  }
}

/// `plan explain`: why an operator has its width.
extension Workbench {
  /// Explains operators of a plan.
  ///
  /// - Parameters:
  ///   - pattern: an operator's name, or a pattern with `*`.
  ///   - sensitivity: the file that the plan was made from; beside the plan by default.
  ///   - profile: idem; searched for in the folder of profiles by default.
  public func explain(
    planFile: String, operator pattern: String, sensitivity: String?, profile: String?
  ) throws(PipelineError) -> [PlanExplanation] {
    let plan = try Self.readPlan(planFile)
    let indices = Self.matches(pattern, plan)
    guard !indices.isEmpty else {
      let names = [plan.operators.first, plan.operators.last].compactMap { $0?.name }
      throw PipelineError(
        .invalidInput,
        "The plan has no operator '\(pattern)'. Operators have names such as "
          + names.map { "'\($0)'" }.joined(separator: " and ") + "; '*' stands for any text.")
    }
    let origin = try origin(
      of: plan, planFile: planFile, sensitivity: sensitivity, profile: profile)
    if plan.device != nil, origin.inputs.profile == nil {
      progress.note("explain: the plan's profile is not at hand, so times are left out")
    }
    let prices = try origin.prices()
    return indices.map { PlanExplanation(origin, index: $0, prices: prices) }
  }
}
