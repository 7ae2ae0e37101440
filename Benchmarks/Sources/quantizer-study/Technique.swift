import BitplanCore
import BitplanPipeline
import BitplanQuantizers

/// One way to make a plan: what the search chooses among, and how codes are found.
struct Technique {
  /// What is done to the float model first.
  enum Change: Hashable {
    case none
    /// Scalings of every slot, each by the rule of the grid that leaves its readers the least error.
    case scaled
    /// The residual stream and every head's values turned.
    case rotated
    /// Both, scalings last.
    case rotatedAndScaled
  }

  var name: String
  var method = OperatorQuantizer.Method.errorFeedback
  var formats = WeightFormat.candidates
  var change = Change.none
  /// Side branches that operators may have.
  var branches: [SideBranch] = []
  var granularity = Granularity.feature

  private static let even = WeightFormat.candidates.filter { $0.coding != .nonlinear }
  private static func with(_ added: (WeightFormat) -> Bool) -> [WeightFormat] {
    (WeightFormat.candidates + WeightFormat.all.filter(added)).sorted()
  }

  /// Everything that the study compares; the default of the program is `GPTQ, descent, nl4`.
  static let all: [Technique] = [
    Technique(name: "min-max", method: .minMax, formats: even),
    Technique(
      name: "min-max, one format an operator", method: .minMax, formats: even, granularity: .layer),
    Technique(name: "clip search", method: .roundToNearest, formats: even),
    Technique(name: "GPTQ", method: .feedbackAlone, formats: even),
    Technique(name: "GPTQ, descent", formats: even),
    Technique(name: "GPTQ, descent, nl4 (default)"),
    Technique(name: "default, one format an operator", granularity: .layer),
    Technique(name: "default + ranks 4, 16", branches: [.lowRank(4), .lowRank(16)]),
    Technique(
      name: "default + 0.25, 0.5, 1 % outliers",
      branches: [25, 50, 100].map { .outliers(basisPoints: $0) }),
    Technique(
      name: "default + bcq1", formats: with { $0.coding == .binary && $0.bitWidth == 1 }),
    Technique(
      name: "default + bcq2", formats: with { $0.coding == .binary && $0.bitWidth == 2 }),
    Technique(
      name: "default + bcq2 by BiLLM", method: .splitBinarization,
      formats: with { $0.coding == .binary && $0.bitWidth == 2 }),
    Technique(
      name: "default + int4_g128q, int8_row, bfp",
      formats: with { [.twoLevel, .perRow, .blockFloat].contains($0.coding) }),
    Technique(name: "default + binary coding", formats: with { $0.coding == .binary }),
    Technique(name: "default + scalings", change: .scaled),
    Technique(
      name: "clip search + scalings", method: .roundToNearest, formats: even, change: .scaled),
    Technique(name: "default + rotations", change: .rotated),
    Technique(name: "default + rotations, scalings", change: .rotatedAndScaled),
  ]
}
