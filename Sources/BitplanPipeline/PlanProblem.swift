internal import BitplanCore
internal import BitplanSearch

/// From artifacts to the integer program: one choice for every (operator, format).
struct PlanProblem {
  /// Tokens of the prefill that profiles and plans speak of.
  static let prefillTokens = 128

  /// A format that an operator may take, with what it costs.
  struct Candidate {
    let format: WeightFormat
    let loss: Double
    let standardError: Double
    let storedBytes: Int
    let decodeSeconds: Double?
    let prefillSeconds: Double?
  }

  let operators: [OperatorDescription]
  let candidates: [[Candidate]]
  let decodeCorrection: DeviceProfile.Correction?
  let prefillCorrection: DeviceProfile.Correction?
  /// Loss that any plan with 8-bit activations pays once.
  let activationCost: Double

  /// Weights of all operators.
  var weightCount: Int { operators.reduce(0) { $0 + $1.shape.weightCount } }

  /// Gathers the candidates of every operator.
  ///
  /// - Parameters:
  ///   - formats: candidate formats, or `nil` for all that the table has.
  ///   - architectureSHA256: which of the profile's corrections applies.
  init(
    sensitivity: SensitivityTable, profile: DeviceProfile?, formats: [WeightFormat]?,
    architectureSHA256: String?
  ) throws(PipelineError) {
    let wanted = formats ?? sensitivity.options.formats
    var all: [[Candidate]] = []
    for row in sensitivity.rows {
      let description = row.operatorDescription
      var candidates: [Candidate] = []
      for format in wanted {
        guard let entry = row.entries.first(where: { $0.format == format }), let value = entry.value
        else {
          throw PipelineError(
            .invalidInput,
            "The sensitivity of '\(description.name)' in \(format) was not measured. Measure it with "
              + "'plan measure --formats', or leave the format out with --formats.")
        }
        candidates.append(
          Candidate(
            format: format, loss: value, standardError: entry.standardError ?? 0,
            storedBytes: format.storedBytes(description.shape),
            decodeSeconds: try Self.seconds(profile, format, description, batch: 1),
            prefillSeconds: try Self.seconds(
              profile, format, description, batch: Self.prefillTokens)))
      }
      all.append(candidates)
    }
    operators = sensitivity.rows.map(\.operatorDescription)
    candidates = all
    activationCost = sensitivity.activationCost
    decodeCorrection = profile?.correction(architectureSHA256, batch: 1)
    prefillCorrection = profile?.correction(architectureSHA256, batch: Self.prefillTokens)
  }

  /// Measured seconds, 0 for a table that is only looked up, `nil` without a profile.
  private static func seconds(
    _ profile: DeviceProfile?, _ format: WeightFormat, _ description: OperatorDescription, batch: Int
  ) throws(PipelineError) -> Double? {
    guard let profile else { return nil }
    guard let seconds = profile.seconds(format, description, batch: batch) else {
      throw PipelineError(
        .stale,
        "Profile '\(profile.name)' has no time for \(format) at \(description.shape), batch \(batch) "
          + "('\(description.name)'). Run 'plan profile --for MODEL' to add it.")
    }
    return seconds
  }

  /// The program for these budgets.
  func problem(_ budgets: [Budget]) throws(PipelineError) -> AssignmentProblem {
    var limits: [AssignmentProblem.Limit] = []
    for budget in budgets { limits.append(try limit(budget)) }
    let choices = candidates.map { row in
      row.map { candidate in
        AssignmentProblem.Choice(
          loss: candidate.loss, uses: budgets.map { use(candidate, $0.kind) })
      }
    }
    do { return try AssignmentProblem(choices: choices, limits: limits) } catch {
      throw PipelineError(wrapping: error)
    }
  }

  /// What is left of a budget for the operators, in the unit of ``use(_:_:)``.
  private func limit(_ budget: Budget) throws(PipelineError) -> AssignmentProblem.Limit {
    let name = budget.kind.rawValue
    switch budget.kind {
    case .bitsPerWeight:
      return .init(name: name, value: (budget.limit * Double(weightCount) / 8).rounded(.down))
    case .storedBytes:
      return .init(name: name, value: budget.limit.rounded(.down))
    case .decodeSecondsPerToken:
      return .init(name: name, value: try operatorSeconds(budget, decodeCorrection))
    case .prefillSeconds:
      return .init(name: name, value: try operatorSeconds(budget, prefillCorrection))
    }
  }

  private func operatorSeconds(
    _ budget: Budget, _ correction: DeviceProfile.Correction?
  ) throws(PipelineError) -> Double {
    guard candidates.first?.first?.decodeSeconds != nil else {
      throw PipelineError(
        .missingInput, "A time budget (\(budget)) needs a device profile: pass --profile FILE.")
    }
    guard let correction else { return budget.limit }
    let left = (budget.limit - correction.fixedSeconds) / correction.factor
    guard left > 0 else {
      throw PipelineError(
        .infeasible,
        "No plan meets \(budget): norms, attention and hand-over alone take "
          + "\(Figures.milliseconds(correction.fixedSeconds)).")
    }
    return left
  }

  private func use(_ candidate: Candidate, _ kind: Budget.Kind) -> Double {
    switch kind {
    case .bitsPerWeight, .storedBytes: Double(candidate.storedBytes)
    case .decodeSecondsPerToken: candidate.decodeSeconds ?? 0
    case .prefillSeconds: candidate.prefillSeconds ?? 0
    }
  }

  /// From the search's unit back to the budget's, rounded so that following the advice works.
  func budgetValue(_ use: Double, _ kind: Budget.Kind) -> Double {
    switch kind {
    case .bitsPerWeight: use * 8 / Double(weightCount)
    case .storedBytes: use
    case .decodeSecondsPerToken: whole(use, decodeCorrection)
    case .prefillSeconds: whole(use, prefillCorrection)
    }
  }

  private func whole(_ sum: Double, _ correction: DeviceProfile.Correction?) -> Double {
    correction.map { $0.factor * sum + $0.fixedSeconds } ?? sum
  }

  /// What the artifacts say a selection costs.
  func predicted(_ selection: [Int], metric: SensitivityTable.Metric) -> Plan.Costs {
    let chosen = zip(candidates, selection).map { $0[$1] }
    let bytes = chosen.reduce(0) { $0 + $1.storedBytes }
    var costs = Plan.Costs(
      bitsPerWeight: BitsPerWeight(storedBytes: bytes, weightCount: weightCount).value,
      storedBytes: bytes)
    if chosen.allSatisfy({ $0.decodeSeconds != nil }) {
      costs.decodeSecondsPerToken = whole(
        chosen.reduce(0) { $0 + ($1.decodeSeconds ?? 0) }, decodeCorrection)
      costs.prefillSeconds = whole(
        chosen.reduce(0) { $0 + ($1.prefillSeconds ?? 0) }, prefillCorrection)
      costs.prefillTokens = Self.prefillTokens
    }
    let loss = chosen.reduce(activationCost) { $0 + $1.loss }
    let error = chosen.reduce(0) { $0 + $1.standardError * $1.standardError }.squareRoot()
    switch metric {
    case .klDivergenceNatsPerToken:
      costs.klDivergenceNatsPerToken = loss
      costs.klDivergenceStandardError = error
    case .cosineDistance:
      costs.cosineDistance = loss
      costs.cosineDistanceStandardError = error
    }
    return costs
  }
}

extension DeviceProfile {
  /// Seconds of one operator in a pass over `batch` tokens: 0 for a table that is only looked up;
  /// the head works on the last token only. `nil` where it was not measured.
  func seconds(
    _ format: WeightFormat, _ description: OperatorDescription, batch: Int
  ) -> Double? {
    switch description.role {
    case .embedding: 0
    case .head, .tiedEmbedding: measurement(format, description.shape, batch: 1)?.seconds
    case .linear: measurement(format, description.shape, batch: batch)?.seconds
    }
  }

  /// The whole-model correction for this architecture and batch, if one was measured.
  func correction(_ architectureSHA256: String?, batch: Int) -> Correction? {
    corrections.first { $0.architectureSHA256 == architectureSHA256 && $0.batch == batch }
  }
}
