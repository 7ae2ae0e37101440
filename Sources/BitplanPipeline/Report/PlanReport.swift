public import BitplanCore

/// A plan for people: as text for a terminal, and as one HTML file with pictures.
///
/// Both are pure functions of the values given here: no clock, no files, no environment, so equal
/// values give equal bytes. Every number is the plan's own or follows from it; what is not known is
/// shown as `–`. Names come from files that nobody vouches for: control characters are made visible
/// and markup is escaped.
public struct PlanReport: Sendable {
  /// The plan to show.
  public let plan: Plan
  /// The table the plan was made from: adds the predicted loss of every operator.
  public let sensitivity: SensitivityTable?
  /// The profile the plan was made from: adds the decode time of every operator.
  public let profile: DeviceProfile?
  /// What the same model loses with one format everywhere.
  public let comparisons: [UniformComparison]

  /// The whole front, with rules beside it.
  public let front: Front?

  /// Makes a report; only the plan is needed.
  ///
  /// Uniform formats that a front predicts and that are not among `comparisons` are added to them.
  public init(
    plan: Plan, sensitivity: SensitivityTable? = nil, profile: DeviceProfile? = nil,
    comparisons: [UniformComparison] = [], front: Front? = nil
  ) {
    self.plan = plan
    self.sensitivity = sensitivity
    self.profile = profile
    self.front = front
    let metric = MetricName(plan.sensitivity.metric)
    let known = Dictionary(comparisons.map { ($0.format, $0) }) { first, _ in first }
    var merged = comparisons
    for reference in front?.references ?? [] {
      guard let format = WeightFormat(identifier: reference.name), known[format] == nil else {
        continue
      }
      merged.append(
        UniformComparison(
          format: format, bitsPerWeight: reference.predicted.bitsPerWeight,
          predictedLoss: metric.loss(reference.predicted), measuredLoss: nil))
    }
    self.comparisons = merged
  }

  /// The report for a terminal, lines at most `width` columns wide, ending in a newline.
  ///
  /// - Parameters:
  ///   - width: columns of the terminal; less than ``minimumTextWidth`` counts as that.
  ///   - color: whether to paint bit widths with ANSI colours. Without it the text has no escape
  ///     sequence, whatever the names in the plan hold.
  public func text(width: Int = 80, color: Bool = false) -> String {
    TextReport(
      facts: ReportFacts(self), width: max(width, Self.minimumTextWidth), color: color
    ).rendered()
  }

  /// The narrowest terminal that the text is laid out for.
  public static let minimumTextWidth = 64

  /// The report as one HTML document: inline styles and SVG pictures, no script, nothing fetched.
  ///
  /// The document is also well-formed XML.
  public func html() -> String {
    HTMLReport(facts: ReportFacts(self)).rendered()
  }
}
