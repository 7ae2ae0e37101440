import BitplanCore

/// One quantity, predicted beside measured, in one unit.
struct CostRow {
  /// What the row is about; tells rows apart in pictures and tests.
  enum Kind: Hashable {
    case bitsPerWeight, storedBytes, exactBytes, decode, prefill, energy, loss, perplexity
  }

  /// What the row is about.
  let kind: Kind
  /// The quantity's name, such as `decode`.
  let label: String
  /// Its unit, such as `ms/token`; empty for perplexity, which has none.
  let unit: String
  /// The predicted value in ``unit``.
  let predicted: Double?
  /// Its standard error in ``unit``.
  let predictedError: Double?
  /// The measured value in ``unit``.
  let measured: Double?
  /// Its standard error in ``unit``.
  let measuredError: Double?
  /// The budget in ``unit``.
  let limit: Double?
  /// Significant digits of values.
  let digits: Int
  /// What the float model has, in ``unit``: perplexity only.
  let reference: Double?
  /// The measured time as if the machine had been as fast as when it was profiled, in ``unit``, where
  /// that is known.
  let atProfileSpeed: Double?

  /// The predicted value without its unit.
  var predictedText: String { text(predicted, predictedError) }
  /// The measured value without its unit.
  var measuredText: String { text(measured, measuredError) }
  /// The budget without its unit.
  var limitText: String { text(limit, nil) }
  /// How far the measured value is from the predicted one.
  var differenceText: String {
    ReportNumber.difference(predicted: predicted, measured: measured)
  }
  /// The reference's value.
  var referenceText: String { text(reference, nil) }
  /// How far the measured value is from the reference's.
  var referenceDifferenceText: String {
    ReportNumber.difference(predicted: reference, measured: measured)
  }
  /// The measured time at the profile's speed.
  var atProfileSpeedText: String { text(atProfileSpeed, nil) }
  /// How far the time at the profile's speed is from the predicted one.
  var atProfileSpeedDifferenceText: String {
    ReportNumber.difference(predicted: predicted, measured: atProfileSpeed)
  }
  /// Whether there is a standard error to show.
  var hasError: Bool { predictedError != nil || measuredError != nil }

  private func text(_ value: Double?, _ error: Double?) -> String {
    switch kind {
    // Plans for one budget differ in the third decimal.
    case .bitsPerWeight: ReportNumber.fixed(value, decimals: 3)
    case .exactBytes: ReportNumber.fixed(value, decimals: 0)
    default: ReportNumber.valueAndError(value, error, digits: digits).value
    }
  }

  /// The standard errors with the decimals that suit them.
  var errorTexts: (predicted: String, measured: String) {
    (
      ReportNumber.valueAndError(predicted, predictedError, digits: digits).error,
      ReportNumber.valueAndError(measured, measuredError, digits: digits).error
    )
  }
}

extension CostRow {
  /// The rows for a plan: those every plan has, then those that this one adds.
  static func rows(of plan: Plan) -> [CostRow] {
    let (predicted, measured) = (plan.predicted, plan.measured)
    var rows = [
      CostRow(
        kind: .bitsPerWeight, label: "stored size", unit: "bits/weight",
        predicted: finite(predicted.bitsPerWeight), measured: finite(measured?.bitsPerWeight),
        limit: limit(.bitsPerWeight, in: plan), digits: 4)
    ]
    rows += storedBytes(plan)
    rows.append(
      time(
        .decode, "decode", per: "/token", predicted.decodeSecondsPerToken,
        measured?.decodeSecondsPerToken, slowdown: measured?.decodeSlowdown,
        limit(.decodeSecondsPerToken, in: plan)))
    rows += prefill(plan)
    rows += energy(plan)
    let metric = MetricName(plan.sensitivity.metric)
    rows.append(loss(metric, predicted, measured))
    for other in MetricName.all where other != metric {
      let row = loss(other, predicted, measured)
      if row.predicted != nil || row.measured != nil { rows.append(row) }
    }
    if let row = perplexity(predicted, measured) { rows.append(row) }
    return rows
  }

  private init(
    kind: Kind, label: String, unit: String, predicted: Double?, measured: Double?,
    limit: Double? = nil, digits: Int, predictedError: Double? = nil,
    measuredError: Double? = nil, reference: Double? = nil, atProfileSpeed: Double? = nil
  ) {
    self.kind = kind
    self.label = label
    self.unit = unit
    self.predicted = predicted
    self.predictedError = predictedError
    self.measured = measured
    self.measuredError = measuredError
    self.limit = limit
    self.digits = digits
    self.reference = reference
    self.atProfileSpeed = atProfileSpeed
  }

  private static func storedBytes(_ plan: Plan) -> [CostRow] {
    let limit = limit(.storedBytes, in: plan)
    func row(_ kind: Kind, _ label: String, _ unit: ByteUnit) -> CostRow {
      func inUnit(_ bytes: Int?) -> Double? { bytes.map { Double($0) / unit.scale } }
      return CostRow(
        kind: kind, label: label, unit: unit.name, predicted: inUnit(plan.predicted.storedBytes),
        measured: inUnit(plan.measured?.storedBytes), limit: limit.map { $0 / unit.scale },
        digits: 4)
    }
    let unit = ByteUnit.suiting(plan.predicted.storedBytes)
    let exact = row(.exactBytes, "stored bytes", .bytes)
    return unit == .bytes ? [exact] : [row(.storedBytes, "stored size", unit), exact]
  }

  private static func prefill(_ plan: Plan) -> [CostRow] {
    let (predicted, measured) = (plan.predicted, plan.measured)
    func row(_ tokens: Int?, _ predicted: Double?, _ measured: Double?) -> CostRow {
      time(
        .prefill, tokens.map { "prefill, \(ReportNumber.grouped($0)) tokens" } ?? "prefill",
        per: "", predicted, measured, slowdown: plan.measured?.prefillSlowdown,
        limit(.prefillSeconds, in: plan))
    }
    let bothGiven = predicted.prefillSeconds != nil && measured?.prefillSeconds != nil
    // Times of different prompt lengths do not belong in one row.
    if bothGiven, predicted.prefillTokens != measured?.prefillTokens {
      return [
        row(predicted.prefillTokens, predicted.prefillSeconds, nil),
        row(measured?.prefillTokens, nil, measured?.prefillSeconds),
      ]
    }
    let tokens =
      predicted.prefillSeconds != nil ? predicted.prefillTokens : measured?.prefillTokens
    return [
      row(tokens ?? predicted.prefillTokens, predicted.prefillSeconds, measured?.prefillSeconds)
    ]
  }

  private static func time(
    _ kind: Kind, _ label: String, per: String, _ predicted: Double?, _ measured: Double?,
    slowdown: Double?, _ limit: Double?
  ) -> CostRow {
    let (predicted, measured) = (finite(predicted), finite(measured))
    let unit = TimeUnit.suiting(predicted ?? measured ?? limit ?? 0)
    return CostRow(
      kind: kind, label: label, unit: unit.name + per,
      predicted: predicted.map { $0 / unit.scale }, measured: measured.map { $0 / unit.scale },
      limit: limit.map { $0 / unit.scale }, digits: 3,
      atProfileSpeed: measured.flatMap { seconds in
        finite(slowdown).map { seconds / $0 / unit.scale }
      })
  }

  /// A row where the device's energies are known, or limited.
  private static func energy(_ plan: Plan) -> [CostRow] {
    let predicted = finite(plan.predicted.decodeJoulesPerToken)
    let measured = finite(plan.measured?.decodeJoulesPerToken)
    let limit = limit(.decodeJoulesPerToken, in: plan)
    guard predicted != nil || measured != nil || limit != nil else { return [] }
    return [
      CostRow(
        kind: .energy, label: "decode energy", unit: "mJ/token",
        predicted: predicted.map { $0 * 1e3 }, measured: measured.map { $0 * 1e3 },
        limit: limit.map { $0 * 1e3 }, digits: 3)
    ]
  }

  private static func loss(
    _ metric: MetricName, _ predicted: Plan.Costs, _ measured: Plan.Costs?
  ) -> CostRow {
    CostRow(
      kind: .loss, label: metric.label, unit: metric.unit,
      predicted: finite(metric.loss(predicted)), measured: finite(measured.flatMap(metric.loss)),
      digits: 4, predictedError: error(metric.standardError(predicted)),
      measuredError: error(measured.flatMap(metric.standardError)))
  }

  private static func perplexity(_ predicted: Plan.Costs, _ measured: Plan.Costs?) -> CostRow? {
    let (first, second) = (finite(predicted.perplexity), finite(measured?.perplexity))
    guard first != nil || second != nil else { return nil }
    return CostRow(
      kind: .perplexity, label: "perplexity", unit: "", predicted: first, measured: second,
      digits: 4, reference: finite(measured?.referencePerplexity))
  }

  private static func limit(_ kind: Budget.Kind, in plan: Plan) -> Double? {
    plan.budgets.filter { $0.kind == kind }.map(\.limit).min()
  }

  private static func finite(_ value: Double?) -> Double? {
    value.flatMap { $0.isFinite ? $0 : nil }
  }

  private static func error(_ value: Double?) -> Double? {
    finite(value).flatMap { $0 > 0 ? $0 : nil }
  }
}
