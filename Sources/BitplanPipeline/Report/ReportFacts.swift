import BitplanCore

/// Everything that both forms of the report show, worked out once and fit for display.
struct ReportFacts {
  /// The plan.
  let plan: Plan
  /// The table, for its provenance.
  let sensitivity: SensitivityTable?
  /// The profile, for its provenance.
  let profile: DeviceProfile?
  /// The model's name.
  let modelName: String
  /// Its `model_type`.
  let architecture: String
  /// The metric that the plan minimises.
  let metric: MetricName
  /// One summary an operator, in the plan's order.
  let operators: [OperatorSummary]
  /// The operators as a grid.
  let map: OperatorMap
  /// Predicted beside measured.
  let costs: [CostRow]
  /// Formats in use.
  let shares: [FormatShare]
  /// The plan among uniform formats.
  let comparison: ComparisonTable?
  /// The front, where it was asked for, with rules beside it.
  let front: Front?
  /// Stored bytes by operator type.
  let bytesBreakdown: CostBreakdown?
  /// Decode seconds of a token by operator type.
  let decodeBreakdown: CostBreakdown?
  /// Predicted loss by operator type.
  let lossBreakdown: CostBreakdown?

  /// Works out the facts of a report.
  init(_ report: PlanReport) {
    plan = report.plan
    sensitivity = report.sensitivity
    profile = report.profile
    front = report.front
    modelName = SafeText.visible(plan.model.name)
    architecture = SafeText.visible(plan.model.architecture)
    metric = MetricName(plan.sensitivity.metric)
    operators = OperatorSummary.all(of: plan, sensitivity: sensitivity, profile: profile)
    map = OperatorMap(operators)
    costs = CostRow.rows(of: plan)
    shares = FormatShare.shares(of: operators, plan: plan)
    comparison = ComparisonTable(plan: plan, comparisons: report.comparisons)
    bytesBreakdown = CostBreakdown(map) { $1.storedBytes.map(Double.init) }
    decodeBreakdown = CostBreakdown(
      map, amount: { $1.decodeSeconds }, isExpected: \.isMultiplied
    )?.completed(to: plan.predicted.decodeSecondsPerToken, label: "the rest")
    lossBreakdown = CostBreakdown(map) { _, segment in
      segment.loss.map { max(0, $0) }
    }
  }

  /// The device in words, such as `xeon-2t (measured; 2 threads, avx512vnni)`.
  var deviceText: String {
    guard let device = plan.device else { return "none (no budget needs times)" }
    var details = [device.simulated ? "simulated" : "measured"]
    if let key = profile?.key {
      details.append(SafeText.visible(key.cpuModel))
      details.append(SafeText.visible(key.instructionSet))
      details.append("\(key.threadCount) \(key.threadCount == 1 ? "thread" : "threads")")
    }
    return "\(SafeText.visible(device.name)) (\(details.joined(separator: ", ")))"
  }

  /// The budgets in words.
  var budgetsText: String {
    plan.budgets.isEmpty
      ? "none" : plan.budgets.map(\.description).joined(separator: ", ")
  }

  /// What the solver proved, without numbers.
  var statusText: String {
    switch plan.certificate.status {
    case .optimal: "optimal"
    case .feasible: "feasible (the time limit came before a proof)"
    }
  }

  /// Solver, version and time.
  var solverText: String {
    let name = SafeText.visible(plan.certificate.solver)
    return plan.certificate.seconds.map { "\(name), \(ReportNumber.seconds($0))" } ?? name
  }

  /// Objective and bound with enough digits to tell them apart.
  var objectiveAndBound: (objective: String, bound: String) {
    let (objective, bound) = (plan.certificate.objective, plan.certificate.bound)
    var digits = 4
    while digits < 8, objective != bound,
      ReportNumber.significant(objective, digits) == ReportNumber.significant(bound, digits)
    { digits += 1 }
    return (ReportNumber.significant(objective, digits), ReportNumber.significant(bound, digits))
  }

  /// What was asked besides budgets, and what the search found out.
  var record: [PlanRecord.Line] { PlanRecord(plan, metric: metric).lines }

  /// What does not fit together between the values given.
  var warnings: [String] {
    var warnings: [String] = []
    let invalid = operators.filter { $0.storedBytes == nil }.count
    if invalid > 0 {
      warnings.append(
        "\(invalid) of \(operators.count) operators have segments that do not cover their rows; "
          + "their sizes are left out. Make the plan again.")
    }
    let sum = operators.reduce(0) { $0 + ($1.storedBytes ?? 0) }
    if invalid == 0, sum != plan.predicted.storedBytes {
      warnings.append(
        "The operators add up to \(ReportNumber.grouped(sum)) bytes, but the plan predicts "
          + "\(ReportNumber.grouped(plan.predicted.storedBytes)). The file was edited: make the "
          + "plan again.")
    }
    warnings += costs.compactMap(overBudget)
    if let profile, let device = plan.device, profile.name != device.name {
      warnings.append(
        "Operator times are from profile '\(SafeText.visible(profile.name))', but the plan is for "
          + "'\(SafeText.visible(device.name))'. Give the profile that the plan was made with.")
    }
    if let sensitivity, sensitivity.model.sha256 != plan.model.sha256 {
      warnings.append(
        "Operator losses are from a table for another checkpoint, "
          + "'\(SafeText.visible(sensitivity.model.name))'. Give the table that the plan was made "
          + "with.")
    }
    return warnings
  }

  /// A warning for a cost over its budget: the predicted one, else the measured one.
  private func overBudget(_ row: CostRow) -> String? {
    guard row.kind != .exactBytes, let limit = row.limit else { return nil }
    // Both were divided by the unit: allow for the rounding.
    func isOver(_ value: Double?) -> Bool { value.map { $0 > limit * (1 + 1e-12) } ?? false }
    let isPredicted = isOver(row.predicted)
    guard isPredicted || isOver(row.measured) else { return nil }
    let text = isPredicted ? row.predictedText : row.measuredText
    return "\(isPredicted ? "Predicted" : "Measured") \(row.label) of \(text) \(row.unit) is over "
      + "the budget of \(row.limitText) \(row.unit). Search again with a lower budget, or allow more."
  }
}
