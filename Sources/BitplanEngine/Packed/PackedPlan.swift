import BitplanCore

/// Checks of a plan that came from anywhere, before any of its numbers are used to size memory.
enum PackedPlan {
  /// Every operator of the model in order, every row in exactly one segment.
  ///
  /// - Parameter modelType: of the configuration that the plan came with.
  static func check(
    _ plan: Plan, against operators: [OperatorDescription], modelType: String
  ) throws(EngineError) {
    guard plan.schemaVersion == Plan.supportedSchemaVersion else {
      throw EngineError(
        "the plan has schemaVersion \(plan.schemaVersion); this version reads "
          + "\(Plan.supportedSchemaVersion). Use the version of Bitplan that made it.")
    }
    guard plan.model.architecture == modelType else {
      throw EngineError(
        "the plan is for a '\(plan.model.architecture)', but the configuration is of a "
          + "'\(modelType)'. Use the plan that was made for this model.")
    }
    guard plan.operators.count == operators.count else {
      throw EngineError(
        "the plan has \(plan.operators.count) operators, but the configuration calls for "
          + "\(operators.count). Use the plan that was made for this model.")
    }
    for (assignment, description) in zip(plan.operators, operators) {
      guard assignment.name == description.name else {
        throw EngineError(
          "the plan has operator '\(assignment.name)' where the model has '\(description.name)'. "
            + "Use the plan that was made for this model.")
      }
      guard assignment.outputFeatures == description.shape.outputFeatures,
        assignment.inputFeatures == description.shape.inputFeatures
      else {
        throw EngineError(
          "the plan has operator '\(assignment.name)' as \(assignment.outputFeatures)×"
            + "\(assignment.inputFeatures), but the model's is \(description.shape). Use the plan "
            + "that was made for this model.")
      }
      try checkRows(assignment)
    }
  }

  private static func checkRows(_ assignment: Plan.Assignment) throws(EngineError) {
    let advice = "Every output feature belongs to exactly one segment; make the plan again."
    var isTaken = [Bool](repeating: false, count: assignment.outputFeatures)
    for (index, segment) in assignment.segments.enumerated() {
      guard !segment.rows.isEmpty else {
        throw EngineError(
          "segment \(index) of operator '\(assignment.name)' has no rows. \(advice)")
      }
      for range in segment.rows {
        guard range.lowerBound >= 0, range.upperBound <= assignment.outputFeatures,
          !range.isEmpty
        else {
          throw EngineError(
            "segment \(index) of operator '\(assignment.name)' has rows \(range) of "
              + "\(assignment.outputFeatures). \(advice)")
        }
        for row in range {
          guard !isTaken[row] else {
            throw EngineError(
              "row \(row) of operator '\(assignment.name)' is in two segments. \(advice)")
          }
          isTaken[row] = true
        }
      }
    }
    if let missing = isTaken.firstIndex(of: false) {
      throw EngineError(
        "row \(missing) of operator '\(assignment.name)' is in no segment. \(advice)")
    }
    guard assignment.segments.allSatisfy({ $0.rows == $0.rows.sorted(by: ascending) }) else {
      throw EngineError(
        "the rows of operator '\(assignment.name)' are not ascending within a segment. \(advice)")
    }
  }

  private static func ascending(_ a: Range<Int>, _ b: Range<Int>) -> Bool {
    a.lowerBound < b.lowerBound
  }
}
