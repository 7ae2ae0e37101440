public import BitplanCore
internal import CBitplanKernels

/// A side branch as it is stored, multiplied where it lies (see `SideBranch`).
public struct PackedBranch: Sendable {
  /// What the branch is.
  public let branch: SideBranch
  /// `[outputFeatures, inputFeatures]` of the operator.
  public let shape: MatrixShape
  /// The bytes, `branch.storedBytes(shape)` of them.
  public let bytes: ByteSlice

  /// The factors of a low-rank branch, or the layout of outliers.
  enum Parts: Sendable {
    case lowRank(right: PackedMatrix, left: PackedMatrix)
    case outliers(OutlierLayout)
  }

  let parts: Parts

  /// Takes stored bytes where they lie.
  ///
  /// - Throws: ``KernelError/shapeMismatch(_:)`` if the count is not that of the branch, or rows of
  ///   outliers name entries or columns that do not exist.
  public init(_ branch: SideBranch, _ shape: MatrixShape, bytes: ByteSlice) throws(KernelError) {
    guard branch.fits(shape), bytes.count == branch.storedBytes(shape) else {
      throw .shapeMismatch(
        "A side branch \(branch) of \(shape) takes \(branch.storedBytes(shape)) bytes, but there are "
          + "\(bytes.count). The file is damaged or was packed by another version: pack the model "
          + "again.")
    }
    self.branch = branch
    self.shape = shape
    self.bytes = bytes
    switch branch {
    case .lowRank(let rank):
      let (right, left) = SideBranch.factors(shape, rank: rank)
      let (middle, end) = (
        bytes.range.lowerBound + right.storedBytes, bytes.range.upperBound
      )
      parts = .lowRank(
        right: try PackedMatrix(
          right, bytes: ByteSlice(region: bytes.region, range: bytes.range.lowerBound..<middle)),
        left: try PackedMatrix(left, bytes: ByteSlice(region: bytes.region, range: middle..<end)))
    case .outliers:
      let layout = OutlierLayout(shape, count: branch.outlierCount(shape))
      parts = .outliers(layout)
      guard isSound(layout) else {
        throw .shapeMismatch(
          "The outliers of a side branch of \(shape) name rows or columns that do not exist. The "
            + "file is damaged: pack the model again.")
      }
    }
  }

  /// Packs the factors of `B · A`.
  ///
  /// - Parameters:
  ///   - left: `B`, `[outputFeatures, rank]`; rounded to binary16.
  ///   - right: `A`, `[rank, inputFeatures]` in `SideBranch.rightFormat`.
  public init(left: FloatMatrix, right: QuantizedWeights) {
    precondition(
      left.columns == right.shape.outputFeatures && right.format == SideBranch.rightFormat,
      "B has as many columns as A has rows")
    let leftCodes = QuantizedWeights(
      format: .f16, shape: MatrixShape(outputFeatures: left.rows, inputFeatures: left.columns),
      payload: .float16(left.values.map { Float16($0).bitPattern }))
    let parts = [right, leftCodes].map { PackedMatrix(packing: $0) }
    let storage = AlignedBytes(count: parts.reduce(0) { $0 + $1.bytes.count })
    var offset = 0
    for part in parts {
      Self.copy(part.bytes, to: storage, at: offset)
      offset += part.bytes.count
    }
    self.init(
      made: .lowRank(left.columns),
      MatrixShape(outputFeatures: left.rows, inputFeatures: right.shape.inputFeatures), storage)
  }

  /// Packs outliers.
  ///
  /// - Parameters:
  ///   - branch: says how many there are.
  ///   - rowStarts: first entry of every row and the number of entries, `[outputFeatures + 1]`.
  ///   - columns: column of every entry, ascending in a row.
  ///   - values: bfloat16 patterns.
  public init(
    _ branch: SideBranch, _ shape: MatrixShape, rowStarts: [UInt32], columns: [UInt32],
    values: [UInt16]
  ) {
    let layout = OutlierLayout(shape, count: values.count)
    precondition(
      rowStarts.count == shape.outputFeatures + 1 && columns.count == values.count
        && values.count == branch.outlierCount(shape), "as many outliers as the branch has")
    let storage = AlignedBytes(count: layout.storedBytes)
    storage.withUnsafeMutableBytes { target in
      rowStarts.withUnsafeBytes { target.copyBytes(from: $0) }
      if layout.columnBytes == 2 {
        columns.map { UInt16($0) }.withUnsafeBytes {
          target[layout.columnsOffset...].copyBytes(from: $0)
        }
      } else {
        columns.withUnsafeBytes { target[layout.columnsOffset...].copyBytes(from: $0) }
      }
      values.withUnsafeBytes { target[layout.valuesOffset...].copyBytes(from: $0) }
    }
    self.init(made: branch, shape, storage)
  }

  private init(made branch: SideBranch, _ shape: MatrixShape, _ storage: AlignedBytes) {
    do {
      try self.init(
        branch, shape, bytes: ByteSlice(region: storage, range: 0..<storage.count))
    } catch {
      preconditionFailure("a branch that was just packed is sound: \(error)")
    }
  }

  private static func copy(_ bytes: ByteSlice, to storage: AlignedBytes, at offset: Int) {
    bytes.withUnsafeBytes { source in
      storage.withUnsafeMutableBytes { $0[offset...].copyBytes(from: source) }
    }
  }

  // MARK: Outliers

  /// Calls `body` with the three parts of outliers; columns as the layout says.
  func withOutliers<Result>(
    _ layout: OutlierLayout,
    _ body: (
      _ starts: UnsafePointer<UInt32>, _ columns: UnsafeRawPointer, _ values: UnsafePointer<UInt16>
    ) -> Result
  ) -> Result {
    bytes.withUnsafeBytes { bytes in
      guard let base = bytes.baseAddress else { preconditionFailure("a branch is never empty") }
      return body(
        base.assumingMemoryBound(to: UInt32.self), base + layout.columnsOffset,
        (base + layout.valuesOffset).assumingMemoryBound(to: UInt16.self))
    }
  }

  private static func column(
    _ columns: UnsafeRawPointer, _ layout: OutlierLayout, _ entry: Int
  ) -> Int {
    layout.columnBytes == 2
      ? Int(columns.load(fromByteOffset: 2 * entry, as: UInt16.self))
      : Int(columns.load(fromByteOffset: 4 * entry, as: UInt32.self))
  }

  /// Whether rows follow each other and columns ascend within a row and exist: kernels trust both.
  private func isSound(_ layout: OutlierLayout) -> Bool {
    withOutliers(layout) { starts, columns, _ in
      guard starts[0] == 0, Int(starts[shape.outputFeatures]) == layout.count else {
        return false
      }
      for row in 0..<shape.outputFeatures {
        guard starts[row] <= starts[row + 1], Int(starts[row + 1]) <= layout.count else {
          return false
        }
        var last = -1
        for entry in Int(starts[row])..<Int(starts[row + 1]) {
          let column = Self.column(columns, layout, entry)
          guard column > last, column < shape.inputFeatures else { return false }
          last = column
        }
      }
      return true
    }
  }

  // MARK: As weights

  /// Adds what the branch stands for to some of its rows.
  ///
  /// - Parameters:
  ///   - rows: pairs of an output feature and the row of `target` that it is added to.
  ///   - target: rows of `inputFeatures` values.
  func add(_ rows: some Sequence<(Int, Int)>, to target: UnsafeMutablePointer<Float>) {
    let width = shape.inputFeatures
    switch parts {
    case .lowRank(let right, let left):
      let (a, factors) = (
        PackedOperator(right).dequantized(), PackedOperator(left).dequantized()
      )
      a.withUnsafeBufferPointer { a in
        for (row, place) in rows {
          let out = UnsafeMutableBufferPointer(start: target + place * width, count: width)
          for index in 0..<factors.columns {
            VectorOperations.addScaled(
              UnsafeBufferPointer(rebasing: a[index * width..<(index + 1) * width]),
              by: factors[row, index], into: out)
          }
        }
      }
    case .outliers(let layout):
      withOutliers(layout) { starts, columns, values in
        for (row, place) in rows {
          for entry in Int(starts[row])..<Int(starts[row + 1]) {
            target[place * width + Self.column(columns, layout, entry)] +=
              Float(bitPattern: UInt32(values[entry]) << 16)
          }
        }
      }
    }
  }

  /// What the branch stands for, `[outputFeatures, inputFeatures]`.
  public func dequantized() -> FloatMatrix {
    let result = FloatMatrix(rows: shape.outputFeatures, columns: shape.inputFeatures)
    result.withUnsafeMutableBufferPointer { target in
      guard let base = target.baseAddress else { return }
      add((0..<shape.outputFeatures).map { ($0, $0) }, to: base)
    }
    return result
  }
}
