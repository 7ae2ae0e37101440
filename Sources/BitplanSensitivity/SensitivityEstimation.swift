public import BitplanCore

/// A way to find out what every (operator, format) costs.
public protocol SensitivityEstimation {
  /// Steps that ``run(tokens:journal:progress:)`` reports.
  var stepCount: Int { get }

  /// One row an operator, and the masked passes that it took.
  ///
  /// - Parameters:
  ///   - tokens: calibration ids, for tables that are only looked up.
  ///   - journal: where finished passes are kept.
  ///   - progress: called with the steps done; may throw to stop.
  func run(
    tokens: [Int], journal: PassJournal?, progress: (Int) throws -> Void
  ) throws -> SensitivityEstimate
}

/// What an estimation found.
public struct SensitivityEstimate {
  /// One row an operator.
  public let rows: [SensitivityTable.Row]
  /// Passes that were made.
  public let passCount: Int
}

extension MaskGuidedEstimation: SensitivityEstimation {}
