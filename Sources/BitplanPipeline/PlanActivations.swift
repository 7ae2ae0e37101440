internal import BitplanCore

/// 16-bit activations in a plan.
///
/// Like formats they are a choice for every operator, but one that takes no bytes: it costs time. A
/// budget of bytes alone would therefore take it everywhere. Unless the user says otherwise, an operator
/// gets 16 bits only where the share that this takes off the plan's loss is more than half the share
/// that it adds to its time.
extension PlanProblem {
  /// What is left of the loss of 8-bit activations: the second byte divides the error by 2 · 127,
  /// the loss by the square of that.
  static let sixteenBitShare = 1.0 / (254 * 254)

  /// How much a share of the loss counts beside the same share of the time: a plan is asked for by its
  /// size and chosen by its loss.
  private static let lossWeight = 2.0

  /// The same problem, of 8-bit activations so far, with activations in these formats.
  ///
  /// - Throws: ``PipelineError`` where the profile does not say what 16 bits cost.
  func with(activations formats: [ActivationFormat]) throws(PipelineError) -> PlanProblem {
    precondition(
      formats.count == operators.count && !activations.contains(.int16),
      "one format an operator, on top of 8 bits")
    guard formats.contains(.int16) else { return self }
    let isTimed = candidates.contains { $0.contains { $0.decodeSeconds != nil } }
    guard !isTimed || sixteenBitFactors != nil else {
      throw PipelineError(
        .invalidInput,
        "The device profile does not say how long 16-bit activations take. Profile this machine "
          + "again with 'plan profile --for MODEL', or leave '--activations int16' out.")
    }
    var copy = self
    copy.activations = formats
    func timed(_ rows: [[Candidate]]) -> [[Candidate]] {
      rows.enumerated().map { index, row in row.map { copy.timed($0, index) } }
    }
    copy.candidates = timed(candidates)
    copy.wholes = timed(wholes)
    return copy
  }

  /// An 8-bit candidate of operator `index` with the times that its activations make.
  func timed(_ candidate: Candidate, _ index: Int) -> Candidate {
    guard activations[index] == .int16, let factors = sixteenBitFactors else { return candidate }
    var copy = candidate
    copy.decodeSeconds? *= factors.decode
    // The head works on the last token alone in either phase.
    copy.prefillSeconds? *= operators[index].role == .linear ? factors.prefill : factors.decode
    return copy
  }

  /// How many times as long operators take with 16 bits, where the profile says.
  private var sixteenBitFactors: (decode: Double, prefill: Double)? {
    guard let decode = decodeCorrection?.sixteenBitActivationFactor,
      let prefill = prefillCorrection?.sixteenBitActivationFactor
    else { return nil }
    return (decode, prefill)
  }

  /// Which operators of a plan get 16-bit activations; `nil` where none does.
  ///
  /// Operators are tried in the order of loss saved for time added, each in shares of the plan's.
  /// An operator is taken where twice the former share is the larger one, for decoding and for prefill,
  /// and the budgets still hold.
  ///
  /// - Parameter chosen: the plan's candidates, one an operator, for 8-bit activations.
  func activationsWorthwhile(
    for chosen: [Candidate], _ budgets: [Budget], metric: SensitivityTable.Metric
  ) throws(PipelineError) -> [ActivationFormat]? {
    guard let costs = activationCosts, sixteenBitFactors != nil, !activations.contains(.int16)
    else { return nil }
    let base = predicted(chosen, metric: metric)
    guard var decode = base.decodeSecondsPerToken, var prefill = base.prefillSeconds else {
      return nil
    }
    var loss = base.klDivergenceNatsPerToken ?? base.cosineDistance ?? 0
    var everywhere = self
    everywhere.activations = activations.map { _ in .int16 }
    struct Step {
      let index: Int
      let saved: Double
      let decode: Double
      let prefill: Double
    }
    let (decodeFactor, prefillFactor) = (
      decodeCorrection?.factor ?? 1, prefillCorrection?.factor ?? 1
    )
    let steps = operators.indices.filter { costs[$0] > 0 }.map { index in
      let after = everywhere.timed(chosen[index], index)
      return Step(
        index: index, saved: costs[index] * (1 - Self.sixteenBitShare),
        decode: ((after.decodeSeconds ?? 0) - (chosen[index].decodeSeconds ?? 0)) * decodeFactor,
        prefill: ((after.prefillSeconds ?? 0) - (chosen[index].prefillSeconds ?? 0)) * prefillFactor
      )
    }
    func time(_ step: Step) -> Double { step.decode / decode + step.prefill / prefill }
    let ranked = steps.map { ($0, $0.saved / max(time($0), 1e-12)) }
      .sorted { ($1.1, $0.0.index) < ($0.1, $1.0.index) }.map(\.0)
    var taken = activations
    for step in ranked
    where Self.lossWeight * step.saved * decode > step.decode * loss
      && Self.lossWeight * step.saved * prefill > step.prefill * loss
    {
      // Only the chosen candidates matter here: the others' times are left as they are.
      var trial = self
      trial.activations = taken
      trial.activations[step.index] = .int16
      guard try fits(trial.timedAll(chosen), budgets) else { continue }
      taken = trial.activations
      loss -= step.saved
      decode += step.decode
      prefill += step.prefill
    }
    return taken.contains(.int16) ? taken : nil
  }

  /// ``timed(_:_:)`` of one 8-bit candidate for every operator.
  func timedAll(_ chosen: [Candidate]) -> [Candidate] {
    chosen.enumerated().map { timed($1, $0) }
  }
}

extension PlanSearch {
  /// The KV cache and what it loses, or `nil` for a float one.
  ///
  /// - Throws: ``PipelineError`` where the sensitivity does not say what the format loses.
  static func cache(_ inputs: Inputs) throws(PipelineError) -> Plan.KeyValueCache? {
    guard inputs.keyValueCache != .float else { return nil }
    let costs = inputs.sensitivity.keyValueCosts ?? []
    guard let cost = costs.first(where: { $0.format == inputs.keyValueCache }) else {
      throw PipelineError(
        .invalidInput,
        "The sensitivity does not say what a KV cache of \(inputs.keyValueCache.rawValue) loses. "
          + "Measure a language model again with 'plan measure --remeasure', or leave --kv-cache out."
      )
    }
    return cost
  }

  /// `plan`, whose activations have 8 bits, with 16 where that is asked for and worthwhile.
  ///
  /// - Parameters:
  ///   - problem: with the corrections that the plan carries.
  ///   - candidates: the plan's, one an operator.
  ///   - executor: what the plan was executed with: 16 bits are taken only where they measure better.
  static func withActivationsChosen(
    _ plan: Plan, _ inputs: Inputs, _ problem: PlanProblem,
    _ candidates: [PlanProblem.Candidate], _ executor: PlanExecutor?
  ) throws -> Plan {
    guard inputs.choosesActivations, inputs.goal == nil,
      let formats = try problem.activationsWorthwhile(
        for: candidates, inputs.budgets, metric: inputs.sensitivity.metric)
    else { return plan }
    let wider = try problem.with(activations: formats)
    let saved = problem.commonLoss - wider.commonLoss
    let proved = plan.certificate
    let objective = max(0, proved.objective - saved)
    var result = makePlan(
      inputs, wider, wider.timedAll(candidates),
      // What all plans pay got smaller by the same amount, so the proof stands.
      Certificate(
        status: proved.status, objective: objective, bound: min(objective, proved.bound - saved),
        solver: proved.solver, seconds: nil))
    result.check = plan.check
    result.ties = plan.ties
    if let executor, let before = plan.check?.keptLoss {
      let after = try executor.loss(result, nil)
      guard after.mean < before else { return plan }
      result.check?.sixteenBitActivations = Plan.Check.Activations(
        lossWithEightBits: before, loss: after.mean)
    }
    return result
  }
}
