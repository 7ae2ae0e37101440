internal import BitplanCore
internal import BitplanSearch

/// Whether a plan may give rows of one operator different formats.
public enum Granularity: String, Sendable, CaseIterable {
  /// One format an operator.
  case layer
  /// Rows of one operator in several formats (MixLLM's output features).
  case feature
}

/// From artifacts to the integer program: one choice for every way to store an operator.
struct PlanProblem {
  /// Tokens of the prefill that profiles and plans speak of.
  static let prefillTokens = 128

  /// One way to store an operator, with what it costs.
  struct Candidate: Hashable {
    let rows: RowFormats
    var branch: SideBranch?
    var loss: Double
    var standardError: Double
    let storedBytes: Int
    var decodeSeconds: Double?
    var prefillSeconds: Double?
    let decodeJoules: Double?

    /// Whether both are stored in the same bytes.
    func isStored(as other: Candidate) -> Bool { rows == other.rows && branch == other.branch }

    /// Ascending.
    var formats: [WeightFormat] { rows.formats }
    /// Formats and rows, made each time.
    var segments: [Plan.Segment] { rows.segments }
  }

  /// What a side branch adds.
  struct BranchCost {
    let decodeSeconds: Double
    let prefillSeconds: Double
    let decodeJoules: Double?
  }

  let operators: [OperatorDescription]
  var candidates: [[Candidate]]
  /// The candidates that give an operator one format, in the order of formats.
  var wholes: [[Candidate]]
  let demands: PlanDemands?
  /// What each operator's side branches add to a pass, where there is a profile.
  let branchCosts: [[SideBranch: BranchCost]]
  /// Decode and prefill seconds of a segment past the first of an operator inside the layers.
  private let extraSegmentSeconds: [Double]
  /// Bytes of the KV cache, which count towards byte budgets.
  let keyValueBytes: Int
  let decodeCorrection: DeviceProfile.Correction?
  let prefillCorrection: DeviceProfile.Correction?
  /// Loss of 8-bit activations, by operator where the sensitivity tells; together what any plan with
  /// 8-bit activations pays once.
  let activationCosts: [Double]?
  /// Loss of a KV cache that is not float.
  let cacheLoss: Double
  /// How the operators' activations are kept; times and ``commonLoss`` are for these.
  var activations: [ActivationFormat]
  private let activationCost: Double

  /// Loss that any plan pays once, whatever its formats: activations and the KV cache.
  var commonLoss: Double {
    guard activations.contains(.int16) else { return activationCost + cacheLoss }
    let costs =
      activationCosts
      ?? [Double](repeating: activationCost / Double(operators.count), count: operators.count)
    return zip(costs, activations).reduce(cacheLoss) {
      $0 + $1.0 * ($1.1 == .int16 ? Self.sixteenBitShare : 1)
    }
  }

  /// Weights of all operators.
  var weightCount: Int { operators.reduce(0) { $0 + $1.shape.weightCount } }

  /// Gathers the candidates of every operator.
  ///
  /// - Parameters:
  ///   - formats: candidate formats, or `nil` for all that the table has.
  ///   - branches: candidate side branches, of those that the table has.
  ///   - architectureSHA256: which of the profile's corrections applies.
  ///   - granularity: whether rows of one operator may take different formats.
  ///   - rules: what the user demands of some operators.
  ///   - keyValueBytes: bytes of the KV cache, which count towards byte budgets.
  ///   - cacheLoss: loss of the KV cache, which every plan pays.
  init(
    sensitivity: SensitivityTable, profile: DeviceProfile?, formats: [WeightFormat]?,
    branches: [SideBranch] = [], architectureSHA256: String?, granularity: Granularity,
    rules: Plan.Rules? = nil, keyValueBytes: Int = 0, cacheLoss: Double = 0
  ) throws(PipelineError) {
    let wanted = formats ?? sensitivity.options.formats
    demands = rules.flatMap {
      $0.isEmpty ? nil : PlanDemands($0, names: sensitivity.rows.map(\.operatorDescription.name))
    }
    try demands?.check()
    extraSegmentSeconds = [1, Self.prefillTokens].map {
      profile?.correction(architectureSHA256, batch: $0)?.secondsPerExtraSegment ?? 0
    }
    if let unknown = branches.first(where: {
      !(sensitivity.options.branches ?? []).contains($0)
    }) {
      throw PipelineError(
        .stale,
        "The side branch \(unknown) was not measured. Measure it with 'plan measure --branches "
          + "\(unknown)', or leave it out with --branches none.")
    }
    var all: [[Candidate]] = []
    var wholes: [[Candidate]] = []
    var branchCosts: [[SideBranch: BranchCost]] = []
    for row in sensitivity.rows {
      let demand =
        demands?.formats(of: row.operatorDescription.name, wanted: wanted)
        ?? (formats: wanted, isWhole: false)
      let indices = try Self.formatIndices(demand.formats, row, sensitivity.options.formats)
      let uniform = try Self.uniformCandidates(row, indices, profile)
      wholes.append(uniform)
      let extra = Self.extraSeconds(extraSegmentSeconds, row.operatorDescription)
      let isMixed =
        granularity == .feature && !demand.isWhole && row.bands != nil && indices.count > 1
      var candidates = uniform
      if isMixed, let bands = row.bands {
        candidates = try Self.featureCandidates(
          row, bands, indices, uniform, hasTimes: profile != nil, extraSeconds: extra)
      }
      var costs: [SideBranch: BranchCost] = [:]
      for branched in row.branches ?? [] where branches.contains(branched.branch) {
        let cost = try Self.cost(profile, branched.branch, row.operatorDescription)
        costs[branched.branch] = cost
        candidates += try Self.branchedCandidates(
          row, branched, cost, indices, profile, isMixed: isMixed,
          extraSeconds: extra)
      }
      branchCosts.append(costs)
      all.append(candidates)
    }
    operators = sensitivity.rows.map(\.operatorDescription)
    candidates = all
    self.wholes = wholes
    self.branchCosts = branchCosts
    self.keyValueBytes = keyValueBytes
    activationCost = sensitivity.activationCost
    activationCosts = sensitivity.activationCosts
    self.cacheLoss = cacheLoss
    activations = [ActivationFormat](repeating: .int8, count: sensitivity.rows.count)
    let online = (sensitivity.transforms ?? []).filter(\.isOnline)
    decodeCorrection = try profile?.correction(architectureSHA256, batch: 1)?
      .adding(online, layersOf: operators)
    prefillCorrection = try profile?.correction(architectureSHA256, batch: Self.prefillTokens)?
      .adding(online, layersOf: operators)
  }

  /// Where the wanted formats stand in the table; each must have been measured.
  private static func formatIndices(
    _ wanted: [WeightFormat], _ row: SensitivityTable.Row, _ known: [WeightFormat]
  ) throws(PipelineError) -> [Int] {
    var indices: [Int] = []
    for format in wanted {
      guard let index = known.firstIndex(of: format), row.entries[index].value != nil else {
        throw PipelineError(
          .invalidInput,
          "The sensitivity of '\(row.operatorDescription.name)' in \(format) was not measured. Measure "
            + "it with 'plan measure --formats', or leave the format out with --formats.")
      }
      indices.append(index)
    }
    return indices
  }

  /// The whole operator in one format.
  static func uniformCandidates(
    _ row: SensitivityTable.Row, _ indices: [Int], _ profile: DeviceProfile?
  ) throws(PipelineError) -> [Candidate] {
    let description = row.operatorDescription
    var candidates: [Candidate] = []
    for index in indices {
      let entry = row.entries[index]
      candidates.append(
        Candidate(
          rows: RowFormats([
            Plan.Segment(format: entry.format, rows: [0..<description.shape.outputFeatures])
          ]),
          loss: entry.value ?? 0, standardError: entry.standardError ?? 0,
          storedBytes: entry.format.storedBytes(description.shape),
          decodeSeconds: try seconds(profile, entry.format, description, batch: 1),
          prefillSeconds: try seconds(profile, entry.format, description, batch: prefillTokens),
          decodeJoules: profile?.joules(entry.format, description)))
    }
    return candidates
  }

  /// The operator's frontier: rows in up to three formats.
  static func featureCandidates(
    _ row: SensitivityTable.Row, _ bands: SensitivityTable.Bands, _ indices: [Int],
    _ uniform: [Candidate], hasTimes: Bool, extraSeconds extra: [Double]
  ) throws(PipelineError) -> [Candidate] {
    let shape = row.operatorDescription.shape
    let formats = indices.map { row.entries[$0].format }
    // Rows of a band share its loss.
    var rowLosses = [[Double]](
      repeating: [Double](repeating: 0, count: indices.count), count: shape.outputFeatures)
    for (position, index) in indices.enumerated() {
      for (place, feature) in bands.rowOrder.enumerated() {
        let band = place / bands.height
        rowLosses[feature][position] = bands.losses[index][band] / Double(bands.rowCount(band))
      }
    }
    let hasJoules = uniform.allSatisfy { $0.decodeJoules != nil }
    let points: [Frontier.Point]
    do {
      points = try Frontier.build(
        rows: rowLosses, formats: formats, inputFeatures: shape.inputFeatures, pointLimit: 40,
        segmentLimit: 3
      ) { format, rowCount in
        guard hasTimes, let whole = uniform.first(where: { $0.formats[0] == format }) else {
          return []
        }
        let share = PassCases.share(of: rowCount, shape)
        // Every segment is charged as an extra one here, and the first is let off below.
        return [
          (whole.decodeSeconds ?? 0) * share + extra[0],
          (whole.prefillSeconds ?? 0) * share + extra[1],
        ] + (hasJoules ? [(whole.decodeJoules ?? 0) * share] : [])
      }
    } catch {
      throw PipelineError(wrapping: error)
    }
    let relativeError = uniform.map { $0.loss > 0 ? $0.standardError / $0.loss : 0 }.max() ?? 0
    return points.map { point in
      Candidate(
        rows: point.rows, loss: point.loss, standardError: point.loss * relativeError,
        storedBytes: point.storedBytes,
        decodeSeconds: hasTimes ? max(0, point.seconds[0] - extra[0]) : nil,
        prefillSeconds: hasTimes ? max(0, point.seconds[1] - extra[1]) : nil,
        decodeJoules: hasTimes && hasJoules ? point.seconds[2] : nil)
    }
  }

  /// Decode and prefill seconds of every segment of an operator past its first.
  func extraSeconds(of description: OperatorDescription) -> [Double] {
    Self.extraSeconds(extraSegmentSeconds, description)
  }

  private static func extraSeconds(
    _ seconds: [Double], _ description: OperatorDescription
  ) -> [Double] {
    switch description.role {
    case .linear: seconds
    // One token, whatever the pass.
    case .head, .tiedEmbedding: [seconds[0], seconds[0]]
    case .embedding: [0, 0]
    }
  }

  /// Measured seconds, 0 for a table that is only looked up, `nil` without a profile.
  private static func seconds(
    _ profile: DeviceProfile?, _ format: WeightFormat, _ description: OperatorDescription,
    batch: Int
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

  /// What is left of a budget for the operators, in the unit of ``use(_:_:)``.
  func limit(_ budget: Budget) throws(PipelineError) -> AssignmentProblem.Limit {
    let name = budget.kind.rawValue
    switch budget.kind {
    case .bitsPerWeight:
      return .init(name: name, value: (budget.limit * Double(weightCount) / 8).rounded(.down))
    case .storedBytes:
      return .init(name: name, value: budget.limit.rounded(.down) - Double(keyValueBytes))
    case .decodeSecondsPerToken:
      return .init(name: name, value: try operatorSeconds(budget, decodeCorrection))
    case .prefillSeconds:
      return .init(name: name, value: try operatorSeconds(budget, prefillCorrection))
    case .decodeJoulesPerToken:
      guard hasJoules else {
        throw PipelineError(
          .missingInput,
          "An energy budget (\(budget)) needs a device profile with joules, and this one has none for "
            + "some operators. Plan for a device that states energies (plan profile --list-devices), or "
            + "import measured joules with 'plan profile --import'.")
      }
      return .init(name: name, value: budget.limit)
    }
  }

  /// Whether the profile knows the energy of every choice.
  private var hasJoules: Bool {
    candidates.allSatisfy { $0.allSatisfy { $0.decodeJoules != nil } }
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

  /// What a candidate uses of a budget, before whole-model corrections.
  func use(_ candidate: Candidate, _ kind: Budget.Kind) -> Double {
    switch kind {
    case .bitsPerWeight, .storedBytes: Double(candidate.storedBytes)
    case .decodeSecondsPerToken: candidate.decodeSeconds ?? 0
    case .prefillSeconds: candidate.prefillSeconds ?? 0
    case .decodeJoulesPerToken: candidate.decodeJoules ?? 0
    }
  }

  /// From the search's unit back to the budget's, rounded so that following the advice works.
  func budgetValue(_ use: Double, _ kind: Budget.Kind) -> Double {
    switch kind {
    case .bitsPerWeight: use * 8 / Double(weightCount)
    case .storedBytes: use + Double(keyValueBytes)
    case .decodeJoulesPerToken: use
    case .decodeSecondsPerToken: whole(use, decodeCorrection)
    case .prefillSeconds: whole(use, prefillCorrection)
    }
  }

  private func whole(_ sum: Double, _ correction: DeviceProfile.Correction?) -> Double {
    correction.map { $0.factor * sum + $0.fixedSeconds } ?? sum
  }

  /// What the artifacts say a plan costs that has these candidates, one an operator.
  func predicted(_ chosen: [Candidate], metric: SensitivityTable.Metric) -> Plan.Costs {
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
    if chosen.allSatisfy({ $0.decodeJoules != nil }) {
      costs.decodeJoulesPerToken = chosen.reduce(0) { $0 + ($1.decodeJoules ?? 0) }
    }
    let loss = chosen.reduce(commonLoss) { $0 + $1.loss }
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
    guard description.isMultiplied else { return 0 }
    let tokens = description.multipliedTokens(ofBatch: batch)
    return measurement(format, description.shape, batch: tokens)?.seconds
  }

  /// Joules of one operator for one token: 0 for a table that is only looked up, `nil` where they
  /// are not known.
  func joules(_ format: WeightFormat, _ description: OperatorDescription) -> Double? {
    if description.isMultiplied { return measurement(format, description.shape, batch: 1)?.joules }
    return measurements.contains { $0.joules != nil } ? 0 : nil
  }

  /// The whole-model correction for this architecture and batch, if one was measured.
  func correction(_ architectureSHA256: String?, batch: Int) -> Correction? {
    corrections.first { $0.architectureSHA256 == architectureSHA256 && $0.batch == batch }
  }
}
