internal import BitplanCore
internal import BitplanKernels

/// Meaningless side branches to time.
enum BranchArena {
  /// More than the last-level cache holds for one tenant.
  static let workingSetBytes = 64 << 20

  /// Copies of one branch that do not fit the cache together. Their values do not matter; columns of
  /// outliers lie as far apart as those of real ones.
  static func copies(_ branch: SideBranch, _ shape: MatrixShape) -> [PackedBranch] {
    let first = made(branch, shape)
    let size = first.bytes.count
    let count = max(1, min(256, workingSetBytes / size))
    let storage = AlignedBytes(count: count * size)
    first.bytes.withUnsafeBytes { source in
      storage.withUnsafeMutableBytes { target in
        for index in 0..<count { target[(index * size)...].copyBytes(from: source) }
      }
    }
    return (0..<count).map { index in
      do {
        return try PackedBranch(
          branch, shape,
          bytes: ByteSlice(region: storage, range: index * size..<(index + 1) * size))
      } catch {
        preconditionFailure("the bytes of a sound branch: \(error)")
      }
    }
  }

  private static func made(_ branch: SideBranch, _ shape: MatrixShape) -> PackedBranch {
    switch branch {
    case .lowRank(let rank):
      let groups = PackedLayout(
        SideBranch.rightFormat,
        MatrixShape(outputFeatures: rank, inputFeatures: shape.inputFeatures)
      ).groupCount
      return PackedBranch(
        left: FloatMatrix(
          rows: shape.outputFeatures, columns: rank,
          values: [Float](repeating: 0.5, count: shape.outputFeatures * rank)),
        right: QuantizedWeights(
          format: SideBranch.rightFormat,
          shape: MatrixShape(outputFeatures: rank, inputFeatures: shape.inputFeatures),
          payload: .integer(
            codes: [UInt8](repeating: 129, count: rank * shape.inputFeatures),
            scales: [UInt16](repeating: Float16(0.01).bitPattern, count: rank * groups),
            zeroPoints: [])))
    case .outliers:
      let count = branch.outlierCount(shape)
      var generator = SeededGenerator(state: 3)
      var (starts, columns) = ([UInt32(0)], [UInt32]())
      for row in 0..<shape.outputFeatures {
        // An equal share of the entries a row, each somewhere in its own stretch of the columns.
        let entries =
          count * (row + 1) / shape.outputFeatures - count * row / shape.outputFeatures
        for entry in 0..<entries {
          let stretch =
            shape.inputFeatures * entry / entries..<shape.inputFeatures * (entry + 1) / entries
          columns.append(UInt32(Int.random(in: stretch, using: &generator)))
        }
        starts.append(UInt32(columns.count))
      }
      return PackedBranch(
        branch, shape, rowStarts: starts, columns: columns,
        values: [UInt16](repeating: 0x3F00, count: count))
    }
  }
}
