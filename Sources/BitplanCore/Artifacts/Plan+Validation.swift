extension Plan {
  /// Checks everything that a plan's numbers say about each other.
  ///
  /// Segments of an operator are disjoint and cover its rows; predicted bytes are the exact sum over
  /// the operators; the plan meets its own budgets; the certificate's gap follows from objective and
  /// bound; names are unique; numbers are finite and in range.
  ///
  /// - Parameter operators: the model's operators, if the model is at hand: names, order and shapes
  ///   must agree.
  /// - Throws: ``ArtifactError`` for the first thing that is wrong.
  /// - Complexity: O(n log n) for `n` row ranges.
  public func validate(against operators: [OperatorDescription]? = nil) throws(ArtifactError) {
    let check = ArtifactChecks(.plan)
    try ArtifactHeader(schemaVersion: schemaVersion).validate(.plan)
    guard !self.operators.isEmpty else { throw check.fail("operators", "is empty") }
    for (index, assignment) in self.operators.enumerated() {
      try assignment.validate(check, "operators[\(index)]")
    }
    try check.unique(self.operators.map(\.name), "operators") { "the name '\($0)'" }
    let weightCount = try check.total(self.operators.map(\.shape.weightCount), "operators")
    try check.model(model, weightCount: weightCount)
    if let device {
      try check.text(device.name, "device.name")
      try check.sha256(device.profileSHA256, "device.profileSHA256")
    }
    try check.sha256(sensitivity.sha256, "sensitivity.sha256")
    try check.text(sensitivity.quantizer, "sensitivity.quantizer")
    try certificate.validate(check, "certificate")

    try predicted.validate(check, "predicted")
    let storedBytes = try check.total(self.operators.map(\.storedBytes), "operators")
    guard predicted.storedBytes == storedBytes else {
      throw check.fail(
        "predicted.storedBytes",
        "is \(predicted.storedBytes), and the operators' segments take \(storedBytes) bytes")
    }
    let bits = BitsPerWeight(storedBytes: storedBytes, weightCount: weightCount).value
    // One rounding on either side.
    guard abs(predicted.bitsPerWeight - bits) <= 4 * bits.ulp else {
      throw check.fail(
        "predicted.bitsPerWeight",
        "is \(predicted.bitsPerWeight), and \(storedBytes) bytes for \(weightCount) weights are \(bits)"
      )
    }
    try measured?.validate(check, "measured")
    try validateBudgets(check)
    try goal?.validate(check, "goal")
    try context?.validate(check, "context")
    try keyValueCache?.validate(check, "keyValueCache")
    try rules?.validate(check, "rules")
    try self.check?.validate(check, "check")
    try ties?.validate(check, "ties")
    try stability?.validate(check, "stability")
    for (index, point) in (front ?? []).enumerated() {
      try check.positive(point.bitsPerWeight, "front[\(index)].bitsPerWeight")
      try check.amount(point.loss, "front[\(index)].loss")
    }
    try EquivalenceTransform.validate(transforms ?? [], check, "transforms")
    if let operators {
      try check.operators(
        self.operators.map { ($0.name, $0.shape) }, match: operators, "operators")
    }
  }

  private func validateBudgets(_ check: ArtifactChecks) throws(ArtifactError) {
    try check.unique(budgets.map(\.kind), "budgets") { "the kind '\($0.rawValue)'" }
    for (index, budget) in budgets.enumerated() {
      let path = "budgets[\(index)]"
      let (value, slack): (Double?, Double) =
        switch budget.kind {
        case .bitsPerWeight: (predicted.bitsPerWeight, 4 * budget.limit.ulp)
        case .storedBytes: (Double(predicted.storedBytes + (context?.keyValueBytes ?? 0)), 0)
        // Sums of many times, in another order than the search's.
        case .decodeSecondsPerToken: (predicted.decodeSecondsPerToken, budget.limit * 1e-9)
        case .prefillSeconds: (predicted.prefillSeconds, budget.limit * 1e-9)
        case .decodeJoulesPerToken: (predicted.decodeJoulesPerToken, budget.limit * 1e-9)
        }
      guard let value else {
        throw check.fail(path, "limits \(budget.kind.rawValue), which 'predicted' does not state")
      }
      guard value <= budget.limit + slack else {
        throw check.fail(path, "is \(budget.limit), and the plan predicts \(value)")
      }
    }
  }
}

extension Plan.Assignment {
  func validate(_ check: ArtifactChecks, _ path: String) throws(ArtifactError) {
    try check.text(name, "\(path).name")
    try check.shape(outputFeatures: outputFeatures, inputFeatures: inputFeatures, path)
    guard !segments.isEmpty else { throw check.fail("\(path).segments", "is empty") }
    for (index, segment) in segments.enumerated() {
      let place = "\(path).segments[\(index)].rows"
      guard !segment.rows.isEmpty else { throw check.fail(place, "is empty") }
      for rows in segment.rows
      where rows.isEmpty || rows.lowerBound < 0 || rows.upperBound > outputFeatures {
        throw check.fail(
          place,
          "has [\(rows.lowerBound), \(rows.upperBound)], and '\(name)' has \(outputFeatures) rows")
      }
      for (a, b) in zip(segment.rows, segment.rows.dropFirst()) where a.upperBound > b.lowerBound {
        throw check.fail(
          place,
          "has [\(a.lowerBound), \(a.upperBound)] before [\(b.lowerBound), \(b.upperBound)], and must "
            + "be ascending and disjoint")
      }
    }
    var end = 0
    for rows in segments.flatMap(\.rows).sorted(by: { $0.lowerBound < $1.lowerBound }) {
      guard rows.lowerBound >= end else {
        throw check.fail("\(path).segments", "give row \(rows.lowerBound) of '\(name)' two formats")
      }
      guard rows.lowerBound == end else { break }
      end = rows.upperBound
    }
    guard end == outputFeatures else {
      throw check.fail("\(path).segments", "give row \(end) of '\(name)' no format")
    }
    guard branch?.fits(shape) ?? true else {
      throw check.fail(
        "\(path).branch", "is \(branch?.identifier ?? ""), which does not fit weights of \(shape)")
    }
  }
}

extension Plan.Costs {
  func validate(_ check: ArtifactChecks, _ path: String) throws(ArtifactError) {
    try check.positive(bitsPerWeight, "\(path).bitsPerWeight")
    try check.count(storedBytes, in: 1...Int.max, "\(path).storedBytes")
    try check.amount(decodeSecondsPerToken, "\(path).decodeSecondsPerToken")
    try check.amount(prefillSeconds, "\(path).prefillSeconds")
    try check.positive(decodeSlowdown, "\(path).decodeSlowdown")
    try check.positive(prefillSlowdown, "\(path).prefillSlowdown")
    try check.amount(decodeJoulesPerToken, "\(path).decodeJoulesPerToken")
    try check.count(prefillTokens, in: 1...MatrixShape.largestSize, "\(path).prefillTokens")
    if prefillSeconds != nil, prefillTokens == nil {
      throw check.fail("\(path).prefillTokens", "is missing beside prefillSeconds")
    }
    try check.amount(klDivergenceNatsPerToken, "\(path).klDivergenceNatsPerToken")
    try check.amount(klDivergenceStandardError, "\(path).klDivergenceStandardError")
    try check.amount(cosineDistance, "\(path).cosineDistance")
    try check.amount(cosineDistanceStandardError, "\(path).cosineDistanceStandardError")
    try check.positive(perplexity, "\(path).perplexity")
    try check.positive(referencePerplexity, "\(path).referencePerplexity")
  }
}

extension Certificate {
  func validate(_ check: ArtifactChecks, _ path: String) throws(ArtifactError) {
    try check.amount(objective, "\(path).objective")
    guard bound.isFinite, bound <= objective else {
      throw check.fail(
        "\(path).bound", "is \(bound), and must be finite and at most the objective, \(objective)")
    }
    let gap = objective > 0 ? (objective - bound) / objective : 0
    guard abs(relativeGap - gap) <= 1e-12 * max(1, gap) else {
      throw check.fail(
        "\(path).relativeGap", "is \(relativeGap), and objective and bound give \(gap)")
    }
    try check.text(solver, "\(path).solver")
    try check.amount(seconds, "\(path).seconds")
  }
}
