internal import BitplanCore
internal import BitplanKernels

/// The weights that stretch their group's grid most: those with the largest
/// `importance · (w − group mean)²` (SpQR, arXiv:2306.03078, judges by what leaving a weight out
/// saves).
///
/// What is stored is the difference to the mean of the rest of the group, so that in its place codes
/// meet a weight that neither stretches the grid nor moves it.
enum OutlierFit {
  static func packed(
    _ branch: SideBranch, _ weights: FloatMatrix, meanSquaredInput: [Float]?
  ) -> PackedBranch {
    let shape = MatrixShape(outputFeatures: weights.rows, inputFeatures: weights.columns)
    let taken = chosen(weights, branch.outlierCount(shape), meanSquaredInput)
    var (starts, columns, values) = ([UInt32(0)], [UInt32](), [UInt16]())
    weights.withUnsafeBufferPointer { source in
      for row in 0..<weights.rows {
        for begin in stride(from: 0, to: weights.columns, by: BranchFit.groupSize) {
          let group = begin..<min(begin + BranchFit.groupSize, weights.columns)
          let places = group.map { row * weights.columns + $0 }
          let rest = places.filter { !taken[$0] }
          guard rest.count < places.count else { continue }
          let mean = rest.reduce(Float(0)) { $0 + source[$1] } / Float(max(1, rest.count))
          for place in places where taken[place] {
            columns.append(UInt32(place - row * weights.columns))
            values.append(bfloat16(source[place] - mean))
          }
        }
        starts.append(UInt32(columns.count))
      }
    }
    return PackedBranch(branch, shape, rowStarts: starts, columns: columns, values: values)
  }

  /// Whether each weight is one of the `count` with the largest scores, earlier ones first.
  private static func chosen(
    _ weights: FloatMatrix, _ count: Int, _ meanSquaredInput: [Float]?
  ) -> [Bool] {
    let columns = weights.columns
    var scores = weights.values
    for row in 0..<weights.rows {
      for begin in stride(from: 0, to: columns, by: BranchFit.groupSize) {
        let size = min(BranchFit.groupSize, columns - begin)
        let first = row * columns + begin
        let mean = scores[first..<first + size].reduce(0, +) / Float(size)
        for index in 0..<size {
          let deviation = scores[first + index] - mean
          scores[first + index] =
            deviation * deviation * (meanSquaredInput?[begin + index] ?? 1)
        }
      }
    }
    let threshold = scores.sorted(by: >)[count - 1]
    var equals = count - scores.count { $0 > threshold }
    return scores.map { score in
      if score > threshold { return true }
      guard score == threshold, equals > 0 else { return false }
      equals -= 1
      return true
    }
  }

  /// The nearest bfloat16, ties to even.
  private static func bfloat16(_ value: Float) -> UInt16 {
    let bits = value.bitPattern
    return UInt16(truncatingIfNeeded: (bits &+ 0x7FFF &+ (bits >> 16 & 1)) >> 16)
  }
}
