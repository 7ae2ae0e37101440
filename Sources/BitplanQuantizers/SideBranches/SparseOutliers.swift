public import BitplanCore
public import BitplanKernels

/// Weights kept beside the codes in binary16, in compressed rows: the few that would stretch
/// their group's grid (SpQR, Dettmers et al. 2023, arXiv:2306.03078).
public struct SparseOutliers: Sendable {
  /// `[outputFeatures, inputFeatures]` of the operator.
  public let shape: MatrixShape
  /// First entry of every row, and the number of entries: `[outputFeatures + 1]`.
  public let rowStarts: [UInt32]
  /// Column of every entry, ascending in a row.
  public let columns: [UInt32]
  /// The weight itself, binary16 patterns.
  public let values: [UInt16]

  /// Entries.
  public var count: Int { values.count }
  /// Bytes: 32-bit row starts, 16-bit columns where they suffice, binary16 values.
  public var storedBytes: Int {
    4 * rowStarts.count + count * (2 + (shape.inputFeatures <= 1 << 16 ? 2 : 4))
  }

  /// Takes the `share` of weights whose removal narrows their groups most: those with the largest
  /// `importance · (w − group mean)²` relative to the rest of their group.
  ///
  /// - Parameters:
  ///   - weights: `[outputFeatures, inputFeatures]`, finite.
  ///   - share: of all weights, 0 to 1.
  ///   - groupSize: weights that share a scale in the format of the rest.
  ///   - meanSquaredInput: `[inputFeatures]`, or `nil` for equal importance.
  public init(
    of weights: FloatMatrix, share: Double, groupSize: Int, meanSquaredInput: [Float]? = nil
  ) {
    precondition(share >= 0 && share <= 1 && groupSize > 0)
    let (rows, columnCount) = (weights.rows, weights.columns)
    shape = MatrixShape(outputFeatures: rows, inputFeatures: columnCount)
    let source = weights.values
    var scores = [Float](repeating: 0, count: source.count)
    for row in 0..<rows {
      for begin in stride(from: 0, to: columnCount, by: groupSize) {
        let end = min(begin + groupSize, columnCount)
        let group = source[row * columnCount + begin..<row * columnCount + end]
        let mean = group.reduce(0, +) / Float(group.count)
        for column in begin..<end {
          let deviation = source[row * columnCount + column] - mean
          scores[row * columnCount + column] =
            deviation * deviation * (meanSquaredInput?[column] ?? 1)
        }
      }
    }
    let wanted = Int((Double(source.count) * share).rounded())
    let taken = Set(
      scores.indices.sorted { (scores[$0], $1) > (scores[$1], $0) }.prefix(wanted))
    var (starts, places, patterns) = ([UInt32(0)], [UInt32](), [UInt16]())
    for row in 0..<rows {
      for column in 0..<columnCount where taken.contains(row * columnCount + column) {
        places.append(UInt32(column))
        patterns.append(Float16(source[row * columnCount + column]).bitPattern)
      }
      starts.append(UInt32(places.count))
    }
    (rowStarts, columns, values) = (starts, places, patterns)
  }

  /// `weights` with every entry replaced by the mean of what stays in its group, which neither
  /// stretches the group's grid nor moves it: what the codes are found for.
  public func removed(from weights: FloatMatrix, groupSize: Int) -> FloatMatrix {
    precondition(weights.rows == shape.outputFeatures && weights.columns == shape.inputFeatures)
    let result = FloatMatrix(
      rows: weights.rows, columns: weights.columns, values: weights.values)
    for row in 0..<weights.rows {
      let entries = Set(entries(of: row).map { Int(columns[$0]) })
      guard !entries.isEmpty else { continue }
      for begin in stride(from: 0, to: weights.columns, by: groupSize) {
        let group = begin..<min(begin + groupSize, weights.columns)
        let rest = group.filter { !entries.contains($0) }
        let mean = rest.reduce(Float(0)) { $0 + weights[row, $1] } / Float(max(1, rest.count))
        for column in group where entries.contains(column) { result[row, column] = mean }
      }
    }
    return result
  }

  /// Writes every entry over what the codes give.
  ///
  /// - Parameter restored: dequantized weights of this shape; changed in place.
  public func restore(in restored: FloatMatrix) {
    precondition(restored.rows == shape.outputFeatures && restored.columns == shape.inputFeatures)
    for row in 0..<shape.outputFeatures {
      for entry in entries(of: row) {
        restored[row, Int(columns[entry])] = Float(Float16(bitPattern: values[entry]))
      }
    }
  }

  private func entries(of row: Int) -> Range<Int> {
    Int(rowStarts[row])..<Int(rowStarts[row + 1])
  }
}
