public import BitplanCore
internal import CBitplanKernels

/// One segment's weights in the layout that kernels read (see ``PackedLayout``).
public struct PackedMatrix: Sendable {
  /// Where every byte lies.
  public let layout: PackedLayout
  /// The packed bytes, ``PackedLayout/storedBytes`` of them.
  public let bytes: ByteSlice

  /// The format of the weights.
  public var format: WeightFormat { layout.format }
  /// `[outputFeatures, inputFeatures]` of this segment.
  public var shape: MatrixShape { layout.shape }

  /// Takes packed bytes where they lie.
  ///
  /// Any content is safe to multiply by: codes, scales and zero points index nothing.
  ///
  /// - Throws: ``KernelError/shapeMismatch(_:)`` if the count is not `layout.storedBytes`.
  public init(_ layout: PackedLayout, bytes: ByteSlice) throws(KernelError) {
    guard bytes.count == layout.storedBytes else {
      throw .shapeMismatch(
        "Packed weights of \(layout.shape) in \(layout.format) take \(layout.storedBytes) bytes, "
          + "but there are \(bytes.count). The file is damaged or was packed by another version: "
          + "pack the model again.")
    }
    self.layout = layout
    self.bytes = bytes
  }

  /// Packs codes.
  public init(packing weights: QuantizedWeights) {
    let layout = PackedLayout(weights.format, weights.shape)
    let storage = AlignedBytes(count: layout.storedBytes)
    let (rows, columns) = (Int64(weights.shape.outputFeatures), Int64(weights.shape.inputFeatures))
    storage.withUnsafeMutableBytes { target in
      guard let base = target.baseAddress else { return }
      switch weights.payload {
      case .float16(let values):
        bp_pack_float16(values, rows, columns, base.assumingMemoryBound(to: UInt16.self))
      case .integer(let codes, let scales, let zeroPoints):
        let (bits, groups) = (Int32(layout.format.bitWidth), Int64(layout.groupCount))
        let mask = UInt8(truncatingIfNeeded: (1 << layout.format.bitWidth) - 1)
        precondition(
          codes.allSatisfy { $0 & ~mask == 0 } && zeroPoints.allSatisfy { $0 & ~mask == 0 },
          "codes and zero points are below 2^bitWidth")
        bp_pack_codes(
          codes, rows, columns, bits, Int32(layout.format.groupSize),
          base.assumingMemoryBound(to: UInt8.self))
        bp_pack_scales(
          scales, rows, groups,
          (base + layout.scalesOffset).assumingMemoryBound(to: UInt16.self))
        if !zeroPoints.isEmpty {
          bp_pack_zero_points(
            zeroPoints, rows, groups, bits,
            (base + layout.zeroPointsOffset).assumingMemoryBound(to: UInt8.self))
        }
      }
    }
    self.layout = layout
    self.bytes = ByteSlice(region: storage, range: 0..<layout.storedBytes)
  }

  /// The codes again, row-major.
  public func unpacked() -> QuantizedWeights {
    let (rows, columns) = (shape.outputFeatures, shape.inputFeatures)
    if format.coding == .float16 {
      var values = [UInt16](repeating: 0, count: shape.weightCount)
      withFloat16 { weights in
        for row in 0..<rows {
          let tile = weights + (row / 16) * columns * 16 + row % 16
          for column in 0..<columns { values[row * columns + column] = tile[column * 16] }
        }
      }
      return QuantizedWeights(format: format, shape: shape, payload: .float16(values))
    }
    var codes = [UInt8](repeating: 0, count: shape.weightCount)
    var scales: [UInt16] = []
    var zeroPoints: [UInt8] = []
    withMatrix { matrix in
      var matrix = matrix
      codes.withUnsafeMutableBufferPointer { codes in
        for row in 0..<rows {
          bp_unpack_row_codes(
            &matrix, Int64(row), Int64(columns), codes.baseAddress.map { $0 + row * columns })
        }
      }
      for row in 0..<rows {
        for group in 0..<layout.groupCount {
          scales.append(bp_scale(&matrix, Int64(row), Int64(group)))
          if format.coding == .affine {
            zeroPoints.append(
              UInt8(truncatingIfNeeded: bp_zero_point(&matrix, Int64(row), Int64(group))))
          }
        }
      }
    }
    return QuantizedWeights(
      format: format, shape: shape,
      payload: .integer(codes: codes, scales: scales, zeroPoints: zeroPoints))
  }

  /// Writes row `row`, dequantized, to `output` (`inputFeatures` values).
  internal func dequantizeRow(_ row: Int, to output: UnsafeMutablePointer<Float>) {
    if format.coding == .float16 {
      withFloat16 {
        bp_dequantize_row_float16($0, Int64(row), Int64(shape.inputFeatures), output)
      }
    } else {
      withMatrix { matrix in
        var matrix = matrix
        bp_dequantize_row(&matrix, Int64(row), Int64(shape.inputFeatures), output)
      }
    }
  }

  /// Calls `body` with the sections of an integer format. No pointer must leave the closure.
  internal func withMatrix<Result>(_ body: (bp_matrix) -> Result) -> Result {
    bytes.withUnsafeBytes { bytes in
      guard let base = bytes.baseAddress else { preconditionFailure("a segment is never empty") }
      return body(
        bp_matrix(
          codes: base.assumingMemoryBound(to: UInt8.self),
          scales: (base + layout.scalesOffset).assumingMemoryBound(to: UInt16.self),
          zero_points: format.coding == .affine
            ? (base + layout.zeroPointsOffset).assumingMemoryBound(to: UInt8.self) : nil,
          rows: Int64(shape.outputFeatures), groups: Int64(layout.groupCount),
          group_size: Int32(format.groupSize), bit_width: Int32(format.bitWidth)))
    }
  }

  /// Calls `body` with the weights of the `f16` format. The pointer must not leave the closure.
  internal func withFloat16<Result>(_ body: (UnsafePointer<UInt16>) -> Result) -> Result {
    bytes.withUnsafeBytes { bytes in
      guard let base = bytes.baseAddress else { preconditionFailure("a segment is never empty") }
      return body(base.assumingMemoryBound(to: UInt16.self))
    }
  }
}
