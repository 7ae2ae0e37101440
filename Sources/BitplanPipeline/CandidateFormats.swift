internal import BitplanCore
internal import BitplanEngine

/// The formats that a verb works with.
enum CandidateFormats {
  /// `wanted`, or the default candidates that have room for every operator of `model`.
  ///
  /// - Throws: `invalidInput` if a wanted format has no room for an operator's input features.
  static func chosen(
    _ wanted: [WeightFormat]?, for model: Model?
  ) throws(PipelineError) -> [WeightFormat] {
    try chosen(wanted, for: model?.operators ?? [])
  }

  /// `wanted`, or the default candidates that have room for every one of `operators`.
  static func chosen(
    _ wanted: [WeightFormat]?, for operators: [OperatorDescription]
  ) throws(PipelineError) -> [WeightFormat] {
    let widest = operators.max { $0.shape.inputFeatures < $1.shape.inputFeatures }
    guard let widest else { return wanted ?? WeightFormat.candidates }
    let columns = widest.shape.inputFeatures
    if let narrow = wanted?.first(where: { $0.maximumInputFeatures < columns }) {
      throw PipelineError(
        .invalidInput,
        "'\(widest.name)' has \(columns) input features, \(narrow) has room for "
          + "\(narrow.maximumInputFeatures): leave the format out with --formats.")
    }
    return wanted ?? WeightFormat.candidates.filter { $0.maximumInputFeatures >= columns }
  }
}
