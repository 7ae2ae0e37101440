import BitplanCore

/// What a plan was asked besides budgets and what was found out while searching, in sentences.
struct PlanRecord {
  /// One line of the record.
  struct Line {
    let name: String
    let text: String
  }

  /// The lines, in the order of the report; none for what the plan does not record.
  let lines: [Line]

  /// Puts a plan's record into words.
  init(_ plan: Plan, metric: MetricName) {
    var lines: [Line] = []
    func add(_ name: String, _ text: String?) {
      if let text { lines.append(Line(name: name, text: text)) }
    }
    add("rules", plan.rules.flatMap(Self.rules))
    add("context", plan.context.map(Self.context))
    add("check", plan.check.map { Self.check($0, plan, metric) })
    add("uniform", plan.check.map { Self.uniform($0, metric) })
    add("activations", Self.activations(plan, metric))
    add("KV cache", plan.keyValueCache.map { Self.cache($0, metric) })
    add("ties", plan.ties.map { Self.ties($0, metric) })
    add("stability", plan.stability.map(Self.stability))
    self.lines = lines
  }

  /// What the plan has as little of as possible, with its unit.
  static func minimized(_ plan: Plan, _ metric: MetricName) -> String {
    guard let goal = plan.goal else { return "\(metric.label), \(metric.unit)" }
    return "\(name(goal.minimized)), at a \(metric.label) of at most "
      + metric.text(goal.maximumLoss, digits: 4)
  }

  /// Unit of the certificate's objective and bound, as it follows a number.
  static func objectiveUnit(_ plan: Plan, _ metric: MetricName) -> String {
    guard let goal = plan.goal else { return metric.suffix }
    return switch goal.minimized {
    case .bitsPerWeight: "bits/weight"
    case .storedBytes: "bytes"
    case .decodeSecondsPerToken: "s/token"
    case .prefillSeconds: "s/prefill"
    case .decodeJoulesPerToken: "J/token"
    }
  }

  private static func name(_ kind: Budget.Kind) -> String {
    switch kind {
    case .bitsPerWeight: "bits per weight"
    case .storedBytes: "stored bytes"
    case .decodeSecondsPerToken: "decode time"
    case .prefillSeconds: "prefill time"
    case .decodeJoulesPerToken: "energy of decoding"
    }
  }

  private static func rules(_ rules: Plan.Rules) -> String? {
    var parts = rules.pins.map { "\(SafeText.visible($0.pattern)) is \($0.format.identifier)" }
    parts += rules.excluded.map { "\(SafeText.visible($0)) stays f16" }
    parts += rules.floors.map {
      "\(SafeText.visible($0.pattern)) has at least \($0.bitWidth) bits"
    }
    parts += rules.fused.map { fusion in
      switch fusion {
      case .queryKeyValue: "query, key and value of a layer share a format"
      case .gateUp: "gate and up of a layer share a format"
      }
    }
    return parts.isEmpty ? nil : parts.joined(separator: "; ")
  }

  private static func context(_ context: Plan.Context) -> String {
    "the KV cache of \(ReportNumber.grouped(context.tokenCount)) tokens takes "
      + "\(ReportNumber.bytes(context.keyValueBytes)) of the byte budget"
  }

  private static func check(_ check: Plan.Check, _ plan: Plan, _ metric: MetricName) -> String {
    guard let last = check.rounds.last else { return ReportNumber.missing }
    let round = check.keptRound.flatMap { check.rounds.indices.contains($0) ? $0 : nil }
    let shown = round.map { check.rounds[$0] } ?? last
    var text =
      "executed on \(ReportNumber.grouped(check.text.windowCount)) windows that were not measured "
      + "on: \(metric.text(shown.measuredLoss, shown.measuredStandardError)), predicted "
      + ReportNumber.significant(shown.predictedLoss, 3)
    if check.rounds.count > 1 {
      let number = (round ?? check.rounds.count - 1) + 1
      text += "; round \(number) of \(check.rounds.count)"
    }
    if !check.lossFactors.isEmpty {
      let factors = check.lossFactors.map {
        "\($0.bitWidth) bits × \(ReportNumber.significant($0.factor, 3))"
      }
      text += "; predictions corrected: \(factors.joined(separator: ", "))"
    }
    if let goal = plan.goal, let loss = check.keptLoss, loss > goal.maximumLoss {
      text +=
        "; that is over the limit of \(metric.text(goal.maximumLoss, digits: 4)): ask for less loss"
    }
    return text
  }

  private static func uniform(_ check: Plan.Check, _ metric: MetricName) -> String {
    guard let uniform = check.uniform else {
      return "no uniform format fits the budgets and is as small as this plan"
    }
    let loss = metric.text(uniform.measuredLoss)
    return check.keptRound == nil
      ? "\(uniform.format.identifier) measured \(loss), better than every plan that was tried: "
        + "this plan is that format"
      : "\(uniform.format.identifier), the best of the same or smaller size, measured \(loss)"
  }

  /// Where activations have 16 bits, and what that was measured to save.
  private static func activations(_ plan: Plan, _ metric: MetricName) -> String? {
    let wide = plan.operators.filter { $0.activations == .int16 }.map(\.name)
    guard !wide.isEmpty else { return nil }
    let most = 4
    let named =
      wide.count == plan.operators.count
      ? "all operators"
      : wide.prefix(most).map(SafeText.visible).joined(separator: ", ")
        + (wide.count > most ? " and \(wide.count - most) more" : "")
    let saved = plan.check?.sixteenBitActivations.map {
      "; measured \(metric.text($0.loss)), with 8 bits everywhere "
        + ReportNumber.significant($0.lossWithEightBits, 3)
    }
    return "16 bits for \(named)" + (saved ?? "")
  }

  private static func cache(_ cache: Plan.KeyValueCache, _ metric: MetricName) -> String {
    "\(cache.format.rawValue), which alone loses \(metric.text(cache.loss))"
  }

  private static func ties(_ ties: Plan.Ties, _ metric: MetricName) -> String {
    "choices that cannot be told apart in loss went to the faster one: "
      + "\(metric.text(ties.lossGivenUp, digits: 2)) for "
      + "\(ReportNumber.seconds(ties.decodeSecondsPerTokenSaved)) a token"
  }

  private static func stability(_ stability: Plan.Stability) -> String {
    "\(ReportNumber.percent(stability.keptWeightShare)) of the weights keep their format when the "
      + "losses vary within their errors (\(stability.resampleCount) searches)"
  }
}
