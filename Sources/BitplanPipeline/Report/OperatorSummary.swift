import BitplanCore

/// One operator as the report shows it: where it belongs, its segments and what each costs.
struct OperatorSummary {
  /// One segment of the operator.
  struct Segment {
    /// Its format.
    let format: WeightFormat
    /// Its rows.
    let rowCount: Int
    /// Its share of the operator's rows.
    let share: Double
    /// Its packed size; `nil` for a segment whose sizes make no sense.
    let storedBytes: Int?
    /// The sensitivity of the *whole* operator in this format.
    let sensitivity: SensitivityTable.Entry?
    /// Its part of the operator's predicted loss.
    let loss: Double?
    /// Its part of the decode time of one token.
    let decodeSeconds: Double?
  }

  /// The name, fit for display.
  let name: String
  /// Where it belongs.
  let place: OperatorPlace
  /// `outputFeatures×inputFeatures`.
  let shape: String
  /// Logical weights; 0 where the sizes make no sense.
  let weightCount: Int
  /// Packed size with the row map; `nil` where the sizes make no sense.
  let storedBytes: Int?
  /// Whether a forward pass multiplies by it: an embedding is only looked up.
  let isMultiplied: Bool
  /// Its segments, in the plan's order.
  let segments: [Segment]
  /// What is kept beside its codes.
  let branch: SideBranch?
  /// What the branch adds to the decode time of one token.
  let branchSeconds: Double?

  /// Stored bits of a weight.
  var bitsPerWeight: Double? {
    storedBytes.flatMap { weightCount > 0 ? Double($0) * 8 / Double(weightCount) : nil }
  }

  /// The format of the most rows; of the wider where two have as many.
  var dominant: WeightFormat? {
    segments.max { ($0.rowCount, $0.format) < ($1.rowCount, $1.format) }?.format
  }

  /// Whether rows have different formats.
  var isMixed: Bool { Set(segments.map(\.format)).count > 1 }

  /// Decode time of all segments; `nil` where one is not known or nothing is multiplied.
  var decodeSeconds: Double? {
    Self.sum(segments.map(\.decodeSeconds) + (branch == nil ? [] : [branchSeconds]))
  }

  /// Predicted loss: the sum over segments.
  var predictedLoss: Double? { Self.sum(segments.map(\.loss)) }

  /// Standard error of ``predictedLoss`` where the operator has one format.
  var predictedLossError: Double? {
    segments.count == 1 ? segments[0].sensitivity?.standardError : nil
  }

  /// Summarises one operator.
  init(
    _ assignment: Plan.Assignment, description: OperatorDescription?,
    sensitivity: [WeightFormat: SensitivityTable.Entry],
    loss: (Plan.Segment) -> Double? = { _ in nil }, isMultiplied: Bool,
    branchSeconds: Double? = nil, decodeSeconds: (WeightFormat, MatrixShape) -> Double?
  ) {
    branch = assignment.branch
    self.branchSeconds = branchSeconds
    let visibleName = SafeText.visible(assignment.name)
    name = visibleName
    place =
      description.map { $0.layer == nil } == true
      ? OperatorPlace(outside: visibleName) : OperatorPlace(name: visibleName)
    shape = "\(assignment.outputFeatures)×\(assignment.inputFeatures)"
    self.isMultiplied = isMultiplied

    let isSensible = Self.isSensible(assignment)
    weightCount = isSensible ? assignment.outputFeatures * assignment.inputFeatures : 0
    storedBytes = isSensible ? assignment.storedBytes : nil
    segments = assignment.segments.map { segment in
      guard isSensible else {
        return Segment(
          format: segment.format, rowCount: 0, share: 1 / Double(assignment.segments.count),
          storedBytes: nil, sensitivity: sensitivity[segment.format], loss: nil,
          decodeSeconds: nil)
      }
      let rows = segment.rowCount
      let share = Double(rows) / Double(assignment.outputFeatures)
      let packed = MatrixShape(outputFeatures: rows, inputFeatures: assignment.inputFeatures)
      // A profile knows whole operators; a segment takes its share of the operator's time.
      let seconds =
        isMultiplied
        ? decodeSeconds(segment.format, packed)
          ?? decodeSeconds(segment.format, assignment.shape).map { $0 * share }
        : nil
      return Segment(
        format: segment.format, rowCount: rows, share: share,
        storedBytes: segment.format.storedBytes(packed),
        sensitivity: sensitivity[segment.format], loss: loss(segment), decodeSeconds: seconds)
    }
  }

  /// Whether the sizes can be computed with: a plan file may hold anything.
  private static func isSensible(_ assignment: Plan.Assignment) -> Bool {
    let (rows, columns) = (assignment.outputFeatures, assignment.inputFeatures)
    guard (1...(1 << 31)).contains(rows), (1...(1 << 31)).contains(columns),
      rows.multipliedReportingOverflow(by: columns).partialValue <= 1 << 44,
      !assignment.segments.isEmpty
    else { return false }
    var covered = 0
    for segment in assignment.segments {
      for range in segment.rows {
        guard range.lowerBound >= 0, range.upperBound <= rows else { return false }
        covered += range.count
        guard covered <= rows else { return false }
      }
      guard segment.rowCount > 0 else { return false }
    }
    return covered == rows
  }

  private static func sum(_ values: [Double?]) -> Double? {
    guard !values.isEmpty else { return nil }
    var total = 0.0
    for value in values {
      guard let value, value.isFinite else { return nil }
      total += value
    }
    return total
  }
}

extension OperatorSummary {
  /// Summarises every operator of a plan, in the plan's order.
  static func all(
    of plan: Plan, sensitivity: SensitivityTable?, profile: DeviceProfile?
  ) -> [OperatorSummary] {
    let rows = Dictionary(
      (sensitivity?.rows ?? []).map { ($0.operatorDescription.name, $0) },
      uniquingKeysWith: { first, _ in first })
    var seconds: [WeightFormat: [MatrixShape: Double]] = [:]
    for measurement in profile?.measurements ?? [] where measurement.batch == 1 {
      guard measurement.seconds.isFinite, measurement.seconds >= 0 else { continue }
      seconds[measurement.format, default: [:]][measurement.shape] = measurement.seconds
    }
    // Without a head of its own, a language model multiplies by its embedding.
    let hasHead = plan.operators.contains { OperatorPlace(name: $0.name).looksLikeHead }
    let isTied = !hasHead && plan.sensitivity.metric == .klDivergenceNatsPerToken
    return plan.operators.map { assignment in
      let row = rows[assignment.name]
      let looksUp = OperatorPlace(name: assignment.name).looksLikeEmbedding && !isTied
      return OperatorSummary(
        assignment, description: row?.operatorDescription,
        sensitivity: Dictionary(
          (row?.entries ?? []).map { ($0.format, $0) }, uniquingKeysWith: { first, _ in first }),
        loss: { row?.loss(of: $0, beside: assignment.branch) },
        isMultiplied: row?.operatorDescription.isMultiplied ?? !looksUp,
        branchSeconds: assignment.branch.flatMap {
          profile?.measurement($0, assignment.shape, batch: 1)?.seconds
        }, decodeSeconds: { seconds[$0]?[$1] })
    }
  }
}
