import BitplanCore

/// The plan among uniform formats, and what follows from it.
struct ComparisonTable {
  /// One line.
  struct Row {
    /// The format, or `nil` for the plan itself.
    let format: WeightFormat?
    /// Stored bits per weight.
    let bitsPerWeight: Double
    /// Predicted loss.
    let predictedLoss: Double?
    /// Measured loss.
    let measuredLoss: Double?

    /// The line's name.
    var label: String { format?.identifier ?? "this plan" }
  }

  /// The plan and every uniform format, smallest first.
  let rows: [Row]
  /// Whether the plan beats every uniform format that is not larger, in a sentence.
  let verdict: String?

  /// Compares; without uniform formats there is nothing to show.
  init?(plan: Plan, comparisons: [UniformComparison]) {
    let usable = comparisons.filter { $0.bitsPerWeight.isFinite }
    guard !usable.isEmpty, plan.predicted.bitsPerWeight.isFinite else { return nil }
    let metric = MetricName(plan.sensitivity.metric)
    let own = Row(
      format: nil, bitsPerWeight: plan.measured?.bitsPerWeight ?? plan.predicted.bitsPerWeight,
      predictedLoss: Self.finite(metric.loss(plan.predicted)),
      measuredLoss: Self.finite(plan.measured.flatMap(metric.loss)))
    let uniform = usable.map {
      Row(
        format: $0.format, bitsPerWeight: $0.bitsPerWeight,
        predictedLoss: Self.finite($0.predictedLoss), measuredLoss: Self.finite($0.measuredLoss))
    }
    rows = ([own] + uniform).enumerated().sorted {
      ($0.element.bitsPerWeight, $0.offset) < ($1.element.bitsPerWeight, $1.offset)
    }.map(\.element)
    verdict = Self.verdict(own, uniform, metric)
  }

  /// How many times the plan's loss a row has, measured where both are, else predicted.
  private func ratio(_ row: Row) -> Double? {
    guard row.format != nil, let own = rows.first(where: { $0.format == nil }) else { return nil }
    let pair =
      row.measuredLoss != nil && own.measuredLoss != nil
      ? (row.measuredLoss, own.measuredLoss) : (row.predictedLoss, own.predictedLoss)
    guard let loss = pair.0, let ownLoss = pair.1, ownLoss > 0, loss >= 0 else { return nil }
    return loss / ownLoss
  }

  /// How many times the plan's loss, as text: `× 1.49`; empty where it is not known.
  func ratioText(_ row: Row) -> String {
    ratio(row).map { "× \(ReportNumber.significant($0, $0 < 1 ? 2 : 3))" } ?? ""
  }

  private static func verdict(_ own: Row, _ uniform: [Row], _ metric: MetricName) -> String? {
    let isMeasured = own.measuredLoss != nil && uniform.contains { $0.measuredLoss != nil }
    func loss(_ row: Row) -> Double? { isMeasured ? row.measuredLoss : row.predictedLoss }
    guard let ownLoss = loss(own) else { return nil }
    let word = isMeasured ? "Measured" : "Predicted"
    let scored = uniform.filter { loss($0) != nil }
    // Equal sizes count as the same size although they were divided differently.
    let fitting = scored.filter { $0.bitsPerWeight <= own.bitsPerWeight + 1e-9 }
    guard let best = fitting.min(by: { (loss($0) ?? 0) < (loss($1) ?? 0) }),
      let bestLoss = loss(best)
    else {
      return scored.isEmpty
        ? nil : "No uniform format that was \(word.lowercased()) is as small as this plan."
    }
    let name = "\(best.label) (\(ReportNumber.fixed(best.bitsPerWeight, decimals: 3)) bits/weight)"
    guard ownLoss < bestLoss else {
      return "\(word) \(metric.label) is not lower than that of \(name), a uniform format of the "
        + "same or smaller size."
    }
    return "\(word) \(metric.label) is \(ReportNumber.percent(1 - ownLoss / bestLoss)) below that "
      + "of \(name), the best uniform format of the same or smaller size."
  }

  private static func finite(_ value: Double?) -> Double? {
    value.flatMap { $0.isFinite ? $0 : nil }
  }
}
