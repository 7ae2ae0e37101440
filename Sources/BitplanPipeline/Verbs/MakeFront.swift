internal import BitplanCheckpoint
public import BitplanCore
internal import BitplanSearch
public import Foundation

/// A front that was made, and where it is.
public struct FrontOutcome: Sendable {
  /// The front.
  public let front: Front
  /// Its file.
  public let file: URL

  /// The table and the file, for people.
  public var summary: String {
    let metric = MetricName(front.sensitivity.metric)
    let hasTimes = front.points.allSatisfy { $0.predicted.decodeSecondsPerToken != nil }
    var table = TextTable([.left, .right, .right, .right, .right])
    table.add(
      ["", "bits/weight", "MiB", "\(metric.label)", hasTimes ? "decode, ms/token" : ""])
    func add(_ name: String, _ costs: Plan.Costs) {
      table.add([
        name, ReportNumber.fixed(costs.bitsPerWeight, decimals: 3),
        ReportNumber.significant(Double(costs.storedBytes) / 1_048_576, 4),
        ReportNumber.significant(metric.loss(costs), 3),
        hasTimes
          ? ReportNumber.significant(costs.decodeSecondsPerToken.map { $0 * 1e3 }, 3) : "",
      ])
    }
    for point in front.points { add("best plan", point.predicted) }
    for reference in front.references.sorted(by: {
      $0.predicted.storedBytes < $1.predicted.storedBytes
    }) {
      add(reference.name, reference.predicted)
    }
    return
      (["Predicted \(metric.label), \(metric.unit), at every size"] + table.lines(width: 80)
      + ["Written to \(file.path)"]).joined(separator: "\n")
  }
}

extension PlanSearch {
  /// The whole front: one measurement, many solves.
  ///
  /// - Parameters:
  ///   - pointCount: solves, at least 2.
  ///   - factors: corrections of the losses that a plan's check found.
  public static func front(
    _ inputs: Inputs, pointCount: Int, lossFactors factors: [Plan.Check.Factor] = []
  ) throws(PipelineError) -> Front {
    let table = inputs.sensitivity
    let byWidth = Dictionary(factors.map { ($0.bitWidth, $0.factor) }) { first, _ in first }
    let problem = try problem(inputs).corrected(by: LossFactors(byWidth), table.rows)
    let points = try problem.front(pointCount: pointCount).map { plan in
      Front.Point(
        predicted: problem.predicted(plan.candidates, metric: table.metric), bound: plan.bound)
    }
    var references: [Front.Reference] = []
    for format in inputs.formats ?? table.options.formats where format.bitWidth <= 8 {
      guard let candidates = problem.uniform(format) else { continue }
      references.append(
        Front.Reference(
          name: format.identifier,
          predicted: problem.predicted(candidates, metric: table.metric)))
    }
    if let rule = MixedRule.segments(table) {
      let candidates = rule.enumerated().map { problem.candidate($1, of: $0, table.rows) }
      references.append(
        Front.Reference(
          name: Front.mixedRuleName,
          predicted: problem.predicted(candidates, metric: table.metric)))
    }
    return Front(
      model: table.model,
      device: inputs.profile.map {
        Plan.Device(
          name: $0.profile.name, profileSHA256: $0.sha256, simulated: $0.profile.simulated)
      },
      sensitivity: Plan.SensitivitySource(
        sha256: inputs.sensitivitySHA256, metric: table.metric,
        quantizer: table.options.quantizer),
      lossFactors: factors, points: points, references: references)
  }
}

extension PlanProblem {
  /// A candidate with these segments and this side branch: one of those at hand, else with what its
  /// segments cost.
  func candidate(
    _ segments: [Plan.Segment], beside branch: SideBranch? = nil, of index: Int,
    _ rows: [SensitivityTable.Row]
  ) -> Candidate {
    let wanted = RowFormats(segments)
    for list in [candidates[index], wholes[index]] {
      if let known = list.first(where: { $0.rows == wanted && $0.branch == branch }) {
        return known
      }
    }
    let shape = operators[index].shape
    var (loss, variance) = (0.0, 0.0)
    var (decode, prefill, joules): (Double?, Double?, Double?) = (0, 0, 0)
    for segment in segments {
      let whole = wholes[index].first { $0.formats[0] == segment.format }
      // Corrections apply to a whole operator's loss and to its rows alike.
      let entry = rows[index].entries.first { $0.format == segment.format }
      let scale =
        (entry?.value).flatMap { $0 > 0 ? (whole?.loss ?? $0) / $0 : nil } ?? 1
      loss += max(0, rows[index].loss(of: segment, beside: branch) ?? 0) * scale
      let share = PassCases.share(of: segment.rowCount, shape)
      decode = decode.flatMap { sum in whole?.decodeSeconds.map { sum + $0 * share } }
      prefill = prefill.flatMap { sum in whole?.prefillSeconds.map { sum + $0 * share } }
      joules = joules.flatMap { sum in whole?.decodeJoules.map { sum + $0 * share } }
      let error = (whole?.standardError ?? 0) * share
      variance += error * error
    }
    let extra = extraSeconds(of: operators[index]).map { $0 * Double(segments.count - 1) }
    let assignment = Plan.Assignment(
      name: operators[index].name, shape: shape, segments: segments)
    let candidate = Candidate(
      rows: wanted, loss: loss, standardError: variance.squareRoot(),
      storedBytes: assignment.storedBytes,
      decodeSeconds: decode.map { $0 + extra[0] },
      prefillSeconds: prefill.map { $0 + extra[1] }, decodeJoules: joules)
    guard let branch else { return candidate }
    return candidate.beside(branch, branch.storedBytes(shape), branchCosts[index][branch])
  }
}

extension Workbench {
  /// Profiles and measures what is missing, and writes the front beside where the plan would go.
  public func makeFront(
    _ request: PlanRequest, pointCount: Int, lossFactors: [Plan.Check.Factor] = []
  ) throws(PipelineError) -> FrontOutcome {
    let source = try ModelSource(path: request.model)
    let output = planFile(request, source)
    let inputs = try searchInputs(request, source, planFile: output)
    progress.begin("front", total: 1)
    let front = try PlanSearch.front(inputs, pointCount: pointCount, lossFactors: lossFactors)
    progress.end("\(front.points.count) plans")
    let file = Self.frontFile(output.path)
    try ArtifactOutput.write(front, to: file)
    return FrontOutcome(front: front, file: file)
  }

  /// Where the front beside a plan is kept.
  static func frontFile(_ planFile: String) -> URL {
    URL(filePath: comparisonsFile(planFile).path.replacing(/\.uniform\.json$/, with: ".front.json"))
  }

  /// The front beside a plan, if there is one that comes from the same sensitivity.
  static func front(beside planFile: String, of plan: Plan) throws(PipelineError) -> Front? {
    let file = frontFile(planFile)
    guard FileManager.default.fileExists(atPath: file.path) else { return nil }
    let front: Front
    do {
      front = try ArtifactFile.read(
        Front.self, path: file.path, supportedSchemaVersion: Front.supportedSchemaVersion)
      try front.validate()
    } catch {
      throw PipelineError(
        .invalidInput,
        "'\(file.lastPathComponent)' beside the plan is malformed (\(error)). Remove it, or make it "
          + "again with 'plan search --pareto'.")
    }
    return front.sensitivity == plan.sensitivity ? front : nil
  }
}
