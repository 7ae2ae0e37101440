import BitplanCore

/// Name and unit of a loss.
struct MetricName: Equatable {
  /// The metric.
  let metric: SensitivityTable.Metric

  /// Names `metric`.
  init(_ metric: SensitivityTable.Metric) { self.metric = metric }

  /// Both metrics.
  static let all = [MetricName(.klDivergenceNatsPerToken), MetricName(.cosineDistance)]

  /// The name.
  var label: String {
    switch metric {
    case .klDivergenceNatsPerToken: "KL divergence"
    case .cosineDistance: "cosine distance"
    }
  }

  /// The unit; a cosine distance is a pure number and says how it is made.
  var unit: String {
    switch metric {
    case .klDivergenceNatsPerToken: "nats/token"
    case .cosineDistance: "1 − cos"
    }
  }

  /// The unit as it follows a number.
  var suffix: String {
    switch metric {
    case .klDivergenceNatsPerToken: unit
    case .cosineDistance: "(\(unit))"
    }
  }

  /// A loss with its unit and, where known, its standard error.
  func text(_ value: Double?, _ error: Double? = nil, digits: Int = 3) -> String {
    let number = ReportNumber.withError(value, error, digits: digits)
    return number == ReportNumber.missing ? number : "\(number) \(suffix)"
  }

  /// The loss among `costs`.
  func loss(_ costs: Plan.Costs) -> Double? {
    switch metric {
    case .klDivergenceNatsPerToken: costs.klDivergenceNatsPerToken
    case .cosineDistance: costs.cosineDistance
    }
  }

  /// The loss's standard error among `costs`.
  func standardError(_ costs: Plan.Costs) -> Double? {
    switch metric {
    case .klDivergenceNatsPerToken: costs.klDivergenceStandardError
    case .cosineDistance: costs.cosineDistanceStandardError
    }
  }
}
