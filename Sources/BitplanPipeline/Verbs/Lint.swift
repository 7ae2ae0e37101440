internal import BitplanCore
internal import BitplanSearch
internal import Foundation

/// Something about a plan that deserves a look.
public struct PlanWarning: Codable, Hashable, Sendable {
  /// What was looked at; stable.
  public enum Kind: String, Codable, Hashable, Sendable, CaseIterable {
    /// An artifact behind the plan is missing, changed, or belongs to something else.
    case staleInput
    /// The plan was never executed.
    case notChecked
    /// Prediction and measurement disagree.
    case predictionOff
    /// Uniform formats are as good.
    case noBetterThanUniform
    /// The solver did not finish.
    case looseProof
    /// Much of the plan changes within the errors of the losses.
    case unstable
    /// An operator is far narrower than its neighbours, and matters.
    case extremeWidth
    /// One operator has a large part of the loss.
    case concentratedLoss
    /// Another choice is no larger, no slower and loses less.
    case dominatedChoice
    /// Rules cost much.
    case costlyRules
    /// A budget is far from used.
    case slackBudget
  }

  /// What was looked at.
  public let kind: Kind
  /// What was found, then what to do.
  public let text: String
}

/// What `plan lint` says.
public struct LintResult: Codable, Sendable {
  /// Warnings in the order of ``PlanWarning/Kind``.
  public let warnings: [PlanWarning]

  /// One line a warning.
  public var text: String {
    warnings.isEmpty
      ? "Nothing to warn of."
      : warnings.map { "\($0.kind.rawValue): \($0.text)" }.joined(separator: "\n")
  }
}

/// `plan lint`: what about a plan deserves a look.
extension Workbench {
  /// Looks through a plan and the artifacts behind it. Missing or stale artifacts are warnings too,
  /// and what needs them is left out.
  public func lint(
    planFile: String, sensitivity: String?, profile: String?
  ) throws(PipelineError) -> LintResult {
    let plan = try Self.readPlan(planFile)
    var warnings = PlanLint.alone(plan)
    do {
      let origin = try origin(
        of: plan, planFile: planFile, sensitivity: sensitivity, profile: profile)
      if plan.device != nil, origin.inputs.profile == nil {
        warnings.append(
          PlanWarning(
            kind: .staleInput,
            text: "The profile behind the plan is not at hand. Name it with --profile, or make the "
              + "plan again."))
      }
      warnings += try PlanLint.withOrigin(origin)
    } catch {
      guard error.kind == .missingInput || error.kind == .stale else { throw error }
      warnings.append(PlanWarning(kind: .staleInput, text: error.description))
    }
    let order = PlanWarning.Kind.allCases
    return LintResult(
      warnings: warnings.enumerated().sorted {
        (order.firstIndex(of: $0.element.kind) ?? 0, $0.offset)
          < (order.firstIndex(of: $1.element.kind) ?? 0, $1.offset)
      }.map(\.element))
  }
}

/// The single looks.
enum PlanLint {
  /// Largest deviation of a measurement from its prediction that passes.
  static let deviationLimit = 0.15
  /// Largest gap that passes.
  static let gapLimit = 0.01
  /// Least share of weights that keep their format that passes.
  static let stabilityLimit = 0.7
  /// Share of the plan's loss from which one operator stands out.
  static let lossShareLimit = 0.25
  /// Bits below its neighbours from which an operator stands out.
  static let widthStep = 1.5
  /// Loss that rules may add, as a share.
  static let ruleCostLimit = 0.05
  /// Part of a budget that may stay unused.
  static let slackLimit = 0.02

  /// What the plan says by itself.
  static func alone(_ plan: Plan) -> [PlanWarning] {
    var warnings: [PlanWarning] = []
    func warn(_ kind: PlanWarning.Kind, _ text: String) {
      warnings.append(PlanWarning(kind: kind, text: text))
    }
    let metric = MetricName(plan.sensitivity.metric)
    if plan.check == nil, plan.measured == nil {
      warn(
        .notChecked,
        "The plan was never executed. Search without --no-check, or run 'plan validate --record'.")
    }
    let predicted = metric.loss(plan.predicted)
    let pairs = [
      ("while searching", plan.check?.keptLoss),
      ("by validate", plan.measured.flatMap(metric.loss)),
    ]
    for case (let place, let measured?) in pairs {
      guard let predicted, predicted > 0, abs(measured / predicted - 1) > deviationLimit else {
        continue
      }
      warn(
        .predictionOff,
        "Loss measured \(place) is \(Figures.significant(measured)), predicted "
          + "\(Figures.significant(predicted)). Measure on text like the one it will be used for.")
    }
    if let check = plan.check, check.keptRound == nil, let uniform = check.uniform {
      warn(
        .noBetterThanUniform,
        "The plan is \(uniform.format) everywhere, because that measured better than every plan that "
          + "was found. Measure again, with more formats or another method.")
    }
    let gap = plan.certificate.relativeGap
    if gap > gapLimit {
      warn(
        .looseProof,
        "A plan that is up to \(ReportNumber.smallPercent(gap)) better may exist. Raise --time-limit."
      )
    }
    if let stability = plan.stability, stability.keptWeightShare < stabilityLimit {
      warn(
        .unstable,
        "Only \(ReportNumber.percent(stability.keptWeightShare)) of the weights keep their format "
          + "when losses vary within their errors. Much of the plan is a matter of chance; its loss "
          + "need not be.")
    }
    for budget in plan.budgets where plan.budgets.count == 1 && plan.goal == nil {
      let used: Double? =
        switch budget.kind {
        case .bitsPerWeight: plan.predicted.bitsPerWeight
        case .storedBytes:
          Double(plan.predicted.storedBytes + (plan.context?.keyValueBytes ?? 0))
        case .decodeSecondsPerToken: plan.predicted.decodeSecondsPerToken
        case .prefillSeconds: plan.predicted.prefillSeconds
        case .decodeJoulesPerToken: plan.predicted.decodeJoulesPerToken
        }
      if let used, used < budget.limit * (1 - slackLimit) {
        warn(
          .slackBudget,
          "The plan uses \(ReportNumber.percent(used / budget.limit)) of \(budget). Allow wider "
            + "formats, or lower the budget.")
      }
    }
    return warnings
  }

  /// What the plan says beside the artifacts it was made from.
  static func withOrigin(_ origin: PlanOrigin) throws(PipelineError) -> [PlanWarning] {
    widths(origin) + losses(origin) + dominated(origin) + (try rules(origin))
  }

  /// Operators far narrower than the same kind of operator in the layers beside them, where that
  /// costs more than the mean operator does.
  private static func widths(_ origin: PlanOrigin) -> [PlanWarning] {
    let descriptions = origin.problem.operators
    func bits(_ index: Int) -> Double {
      BitsPerWeight(
        storedBytes: origin.candidates[index].storedBytes,
        weightCount: descriptions[index].shape.weightCount
      ).value
    }
    func kind(_ description: OperatorDescription) -> String {
      description.name.split(separator: ".").filter { Int($0) == nil }.joined(separator: ".")
    }
    let mean =
      origin.candidates.reduce(0) { $0 + $1.loss } / Double(max(1, origin.candidates.count))
    var places: [String: [Int: Int]] = [:]
    for (index, description) in descriptions.enumerated() {
      if let layer = description.layer { places[kind(description), default: [:]][layer] = index }
    }
    return descriptions.enumerated().compactMap { index, description in
      guard let layer = description.layer, let row = places[kind(description)],
        origin.candidates[index].loss > mean
      else { return nil }
      let neighbours = [layer - 1, layer + 1].compactMap { row[$0] }.map(bits)
      guard let narrowest = neighbours.min(), bits(index) < narrowest - widthStep else {
        return nil
      }
      return PlanWarning(
        kind: .extremeWidth,
        text:
          "'\(description.name)' has \(Figures.significant(bits(index))) bits where its neighbours "
          + "have \(Figures.significant(narrowest)) or more, and loses more than most. Look at it with "
          + "'plan explain', or set a --floor.")
    }
  }

  private static func losses(_ origin: PlanOrigin) -> [PlanWarning] {
    let total = origin.candidates.reduce(0) { $0 + $1.loss }
    guard total > 0, origin.candidates.count > 4 else { return [] }
    return zip(origin.problem.operators, origin.candidates).compactMap { description, candidate in
      let share = candidate.loss / total
      guard share > lossShareLimit else { return nil }
      return PlanWarning(
        kind: .concentratedLoss,
        text:
          "'\(description.name)' alone has \(ReportNumber.percent(share)) of the predicted loss.")
    }
  }

  /// Choices that another one beats in everything that is limited or minimised.
  private static func dominated(_ origin: PlanOrigin) -> [PlanWarning] {
    let isFused = origin.plan.rules?.fused.isEmpty == false
    guard !isFused else { return [] }
    return origin.candidates.enumerated().compactMap { index, own in
      let others = origin.problem.candidates[index] + origin.problem.wholes[index]
      let better = others.first { other in
        // A format's loss as a sum over rows and as a whole differ in their rounding.
        !other.isStored(as: own) && other.loss < own.loss * (1 - 1e-9)
          && other.storedBytes <= own.storedBytes
          && other.decodeSeconds ?? 0 <= own.decodeSeconds ?? 0
          && other.prefillSeconds ?? 0 <= own.prefillSeconds ?? 0
      }
      guard let better else { return nil }
      let formats =
        (better.formats.map(\.identifier) + (better.branch.map { [$0.identifier] } ?? []))
        .joined(separator: "+")
      return PlanWarning(
        kind: .dominatedChoice,
        text:
          "'\(origin.problem.operators[index].name)' could have \(formats), which is no larger, no "
          + "slower and loses less. Make the plan again.")
    }
  }

  /// What the rules cost: the loss of the plan beside that of the best plan without them.
  private static func rules(_ origin: PlanOrigin) throws(PipelineError) -> [PlanWarning] {
    guard let rules = origin.plan.rules, !rules.isEmpty, origin.plan.goal == nil else { return [] }
    var inputs = origin.inputs
    inputs.rules = nil
    let factors = LossFactors(
      Dictionary((origin.plan.check?.lossFactors ?? []).map { ($0.bitWidth, $0.factor) }) { a, _ in
        a
      })
    let free = try PlanSearch.problem(inputs).corrected(by: factors, inputs.sensitivity.rows)
    var options = PlanSearch.options(inputs)
    options.relativeGap = 1e-3
    let best = try free.solve(inputs.budgets, goal: nil, options: options).certificate.objective
    let own = origin.candidates.reduce(origin.problem.commonLoss) { $0 + $1.loss }
    guard best > 0, own > best * (1 + ruleCostLimit) else { return [] }
    return [
      PlanWarning(
        kind: .costlyRules,
        text:
          "The plan's rules raise its predicted loss by \(ReportNumber.percent(own / best - 1)), "
          + "from \(Figures.significant(best)) to \(Figures.significant(own)).")
    ]
  }
}
