extension SensitivityTable {
  /// Checks that every number is in range, that every row has the formats of the options in their
  /// order, and that operators are there once.
  ///
  /// - Parameter operators: the model's operators, if the model is at hand: names, order and shapes
  ///   must agree.
  /// - Throws: ``ArtifactError`` for the first thing that is wrong.
  public func validate(against operators: [OperatorDescription]? = nil) throws(ArtifactError) {
    let check = ArtifactChecks(.sensitivityTable)
    try ArtifactHeader(schemaVersion: schemaVersion).validate(.sensitivityTable)
    guard !rows.isEmpty else { throw check.fail("rows", "is empty") }
    try check.text(calibration.name, "calibration.name")
    try check.sha256(calibration.sha256, "calibration.sha256")
    try check.count(
      calibration.windowCount, in: 1...MatrixShape.largestSize, "calibration.windowCount")
    try check.count(
      calibration.windowTokens, in: 1...MatrixShape.largestSize, "calibration.windowTokens")
    try check.text(options.method, "options.method")
    try check.text(options.quantizer, "options.quantizer")
    try check.count(options.passCount, in: 0...Int.max, "options.passCount")
    if let passesMade { try check.count(passesMade, in: 0...options.passCount, "passesMade") }
    guard !options.formats.isEmpty else { throw check.fail("options.formats", "is empty") }
    try check.unique(options.formats, "options.formats") { "the format '\($0)'" }
    if let transforms = options.transforms { try check.text(transforms, "options.transforms") }
    try check.unique(options.branches ?? [], "options.branches") { "the side branch '\($0)'" }
    try EquivalenceTransform.validate(transforms ?? [], check, "transforms")
    try check.amount(activationCost, "activationCost")
    if let costs = activationCosts {
      guard costs.count == rows.count else {
        throw check.fail(
          "activationCosts", "has \(costs.count) values for \(rows.count) operators")
      }
      for cost in costs { try check.amount(cost, "activationCosts") }
    }
    for (index, cost) in (keyValueCosts ?? []).enumerated() {
      try cost.validate(check, "keyValueCosts[\(index)]")
    }

    for (index, row) in rows.enumerated() {
      let path = "rows[\(index)]"
      let description = row.operatorDescription
      try check.text(description.name, "\(path).operatorDescription.name")
      try check.shape(
        outputFeatures: description.shape.outputFeatures,
        inputFeatures: description.shape.inputFeatures, "\(path).operatorDescription.shape")
      try check.count(
        description.layer, in: 0...MatrixShape.largestSize, "\(path).operatorDescription.layer")
      guard row.entries.map(\.format) == options.formats else {
        throw check.fail(
          "\(path).entries",
          "has the formats \(row.entries.map(\.format)), and the options have \(options.formats)")
      }
      for (position, entry) in row.entries.enumerated() {
        let place = "\(path).entries[\(position)]"
        try check.amount(entry.value, "\(place).value")
        try check.amount(entry.standardError, "\(place).standardError")
        try check.amount(entry.relativeOutputError, "\(place).relativeOutputError")
        if entry.value == nil, entry.standardError != nil {
          throw check.fail("\(place).standardError", "is given for a value that was not measured")
        }
      }
    }
    for (index, row) in rows.enumerated() {
      guard let bands = row.bands else { continue }
      let path = "rows[\(index)].bands"
      let rowCount = row.operatorDescription.shape.outputFeatures
      try check.count(bands.height, in: 1...MatrixShape.largestSize, "\(path).height")
      guard bands.rowOrder.count == rowCount, Set(bands.rowOrder) == Set(0..<rowCount) else {
        throw check.fail("\(path).rowOrder", "does not name each of the \(rowCount) rows once")
      }
      guard bands.losses.count == options.formats.count,
        bands.losses.allSatisfy({ $0.count == bands.count })
      else {
        throw check.fail("\(path).losses", "does not have one loss for every format and band")
      }
      for losses in bands.losses {
        for loss in losses { try check.amount(loss, "\(path).losses") }
      }
    }
    for (index, row) in rows.enumerated() {
      try row.validateBranches(check, "rows[\(index)].branches", options)
    }
    try check.unique(rows.map(\.operatorDescription.name), "rows") { "the operator '\($0)'" }
    let weightCount = try check.total(rows.map(\.operatorDescription.shape.weightCount), "rows")
    try check.model(model, weightCount: weightCount)
    if let operators {
      try check.operators(
        rows.map { ($0.operatorDescription.name, $0.operatorDescription.shape) }, match: operators,
        "rows")
    }
  }
}

extension SensitivityTable.Row {
  /// Every side branch is one of the options', there once, fits the operator and has a loss for every
  /// format and band.
  fileprivate func validateBranches(
    _ check: ArtifactChecks, _ path: String, _ options: SensitivityTable.Options
  ) throws(ArtifactError) {
    let branches = branches ?? []
    guard let bands else {
      guard branches.isEmpty else { throw check.fail(path, "are given without bands") }
      return
    }
    try check.unique(branches.map(\.branch), path) { "the side branch '\($0)'" }
    for (index, branched) in branches.enumerated() {
      let place = "\(path)[\(index)]"
      guard (options.branches ?? []).contains(branched.branch),
        branched.branch.fits(operatorDescription.shape), operatorDescription.isMultiplied
      else {
        throw check.fail(
          place,
          "is '\(branched.branch)', which the options do not have or the operator has no room for")
      }
      guard branched.losses.count == options.formats.count,
        branched.losses.allSatisfy({ $0.count == bands.count })
      else {
        throw check.fail("\(place).losses", "does not have one loss for every format and band")
      }
      for loss in branched.losses.joined() { try check.amount(loss, "\(place).losses") }
    }
  }
}
