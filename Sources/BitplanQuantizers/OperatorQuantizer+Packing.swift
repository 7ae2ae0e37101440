public import BitplanCore
public import BitplanKernels

extension OperatorQuantizer {
  /// An operator as a plan says: the side branch first, then codes for what it leaves, segment by
  /// segment.
  ///
  /// - Parameter weights: `[outputFeatures, inputFeatures]` of the assignment, finite.
  /// - Throws: ``KernelError`` where the segments do not cover the operator.
  public func packed(
    _ weights: FloatMatrix, as assignment: Plan.Assignment, _ statistics: InputStatistics
  ) throws(KernelError) -> PackedOperator {
    let branch = assignment.branch.map {
      BranchFit($0, weights, meanSquaredInput: statistics.meanSquares)
    }
    let matrices = assignment.segments.map { segment in
      PackedMatrix(
        packing: quantize(
          branch?.rest ?? weights, rows: segment.rows, as: segment.format, statistics))
    }
    var packed =
      matrices.count == 1
      ? PackedOperator(matrices[0])
      : try PackedOperator(
        shape: assignment.shape, segments: zip(matrices, assignment.segments).map { ($0, $1.rows) })
    packed.activations = assignment.activations
    packed.branch = branch?.packed
    return packed
  }
}
