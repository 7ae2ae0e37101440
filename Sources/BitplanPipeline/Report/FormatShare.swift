import BitplanCore

/// How much of the model one format holds.
struct FormatShare {
  /// The format.
  let format: WeightFormat
  /// Weights in this format.
  let weightCount: Int
  /// Their share of all weights.
  let share: Double
  /// Their packed size, row maps left out.
  let storedBytes: Int

  /// The shares of all formats in use, widest first.
  static func shares(of operators: [OperatorSummary], plan: Plan) -> [FormatShare] {
    var counts: [WeightFormat: (weights: Int, bytes: Int)] = [:]
    for (summary, assignment) in zip(operators, plan.operators) where summary.weightCount > 0 {
      for segment in summary.segments {
        counts[segment.format, default: (0, 0)].weights +=
          segment.rowCount * assignment.inputFeatures
        counts[segment.format, default: (0, 0)].bytes += segment.storedBytes ?? 0
      }
    }
    let total = counts.values.reduce(0) { $0 + $1.weights }
    return counts.sorted { $0.key > $1.key }.map { format, count in
      FormatShare(
        format: format, weightCount: count.weights,
        share: Double(count.weights) / Double(total), storedBytes: count.bytes)
    }
  }
}
