internal import BitplanCore

/// Side branches as candidates.
extension PlanProblem {
  /// The operator's candidates beside a side branch, which adds its bytes and its time to each.
  static func branchedCandidates(
    _ row: SensitivityTable.Row, _ branched: SensitivityTable.Branched, _ cost: BranchCost?,
    _ indices: [Int], _ profile: DeviceProfile?, isMixed: Bool, extraSeconds: [Double]
  ) throws(PipelineError) -> [Candidate] {
    guard let known = row.bands else { return [] }
    let bands = SensitivityTable.Bands(
      height: known.height, rowOrder: known.rowOrder, losses: branched.losses)
    // The same uncertainty as without the branch, in proportion.
    let entries = row.entries.enumerated().map { position, entry in
      let loss = branched.losses[position].reduce(0, +)
      let ratio = entry.value.map { $0 > 0 ? loss / $0 : 0 } ?? 0
      return SensitivityTable.Entry(
        format: entry.format, value: entry.value == nil ? nil : loss,
        standardError: entry.standardError.map { $0 * ratio },
        relativeOutputError: entry.relativeOutputError)
    }
    let beside = SensitivityTable.Row(
      operatorDescription: row.operatorDescription, entries: entries, bands: bands)
    let uniform = try uniformCandidates(beside, indices, profile)
    let plain =
      isMixed
      ? try featureCandidates(
        beside, bands, indices, uniform, hasTimes: profile != nil, extraSeconds: extraSeconds)
      : uniform
    let bytes = branched.branch.storedBytes(row.operatorDescription.shape)
    return plain.map { $0.beside(branched.branch, bytes, cost) }
  }

  /// What a branch adds to a pass; `nil` without a profile. The head works on the last token only.
  static func cost(
    _ profile: DeviceProfile?, _ branch: SideBranch, _ description: OperatorDescription
  ) throws(PipelineError) -> BranchCost? {
    guard let profile else { return nil }
    func measured(_ batch: Int) throws(PipelineError) -> DeviceProfile.BranchMeasurement {
      let tokens = description.multipliedTokens(ofBatch: batch)
      guard let known = profile.measurement(branch, description.shape, batch: tokens) else {
        throw PipelineError(
          .stale,
          "Profile '\(profile.name)' has no time for the side branch \(branch) at \(description.shape), "
            + "batch \(tokens) ('\(description.name)'). Run 'plan profile --for MODEL --branches "
            + "\(branch)' to add it, or leave it out with --branches none.")
      }
      return known
    }
    let (decode, prefill) = (try measured(1), try measured(prefillTokens))
    return BranchCost(
      decodeSeconds: decode.seconds, prefillSeconds: prefill.seconds, decodeJoules: decode.joules)
  }
}

extension PlanProblem.Candidate {
  /// The same rows beside a side branch that takes so many bytes; losses are those beside it already.
  func beside(
    _ branch: SideBranch, _ bytes: Int, _ cost: PlanProblem.BranchCost?
  ) -> PlanProblem.Candidate {
    PlanProblem.Candidate(
      rows: rows, branch: branch, loss: loss, standardError: standardError,
      storedBytes: storedBytes + bytes,
      decodeSeconds: decodeSeconds.flatMap { sum in cost.map { sum + $0.decodeSeconds } },
      prefillSeconds: prefillSeconds.flatMap { sum in cost.map { sum + $0.prefillSeconds } },
      decodeJoules: decodeJoules.flatMap { sum in cost?.decodeJoules.map { sum + $0 } })
  }
}
