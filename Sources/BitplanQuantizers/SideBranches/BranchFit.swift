public import BitplanCore
public import BitplanKernels

/// A side branch for given weights, and what it leaves for the codes.
public struct BranchFit: Sendable {
  /// The branch as it is stored.
  public let packed: PackedBranch
  /// The weights without what the stored branch stands for, `[outputFeatures, inputFeatures]`: what
  /// codes are sought for. Whatever storing the branch rounds off is in here.
  public let rest: FloatMatrix

  /// Fits a branch.
  ///
  /// - Parameters:
  ///   - branch: must fit the weights' shape.
  ///   - weights: `[outputFeatures, inputFeatures]`, finite.
  ///   - meanSquaredInput: `E[x_k²]` for every input feature, or `nil` for equal ones.
  public init(_ branch: SideBranch, _ weights: FloatMatrix, meanSquaredInput: [Float]?) {
    precondition(meanSquaredInput.map { $0.count == weights.columns } ?? true)
    switch branch {
    case .lowRank(let rank):
      packed = LowRankFit.packed(weights, rank: rank, meanSquaredInput: meanSquaredInput)
    case .outliers:
      packed = OutlierFit.packed(branch, weights, meanSquaredInput: meanSquaredInput)
    }
    rest = OutputError.difference(packed.dequantized(), weights)
  }

  /// Input features whose weights share a scale in most formats: what a group's grid spans is what a
  /// branch should narrow.
  static let groupSize = 128
}
