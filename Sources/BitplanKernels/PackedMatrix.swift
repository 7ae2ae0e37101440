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
  /// - Throws: ``KernelError/shapeMismatch(_:)`` if the count is not `layout.storedBytes`;
  ///   ``KernelError/unsupported(_:)`` if the format's sums have no room for so many input features.
  public init(_ layout: PackedLayout, bytes: ByteSlice) throws(KernelError) {
    guard bytes.count == layout.storedBytes else {
      throw .shapeMismatch(
        "Packed weights of \(layout.shape) in \(layout.format) take \(layout.storedBytes) bytes, "
          + "but there are \(bytes.count). The file is damaged or was packed by another version: "
          + "pack the model again.")
    }
    let most = layout.format.maximumInputFeatures
    guard layout.shape.inputFeatures <= most else {
      throw .unsupported(
        "\(layout.format) has room for \(most) input features, the weights have "
          + "\(layout.shape.inputFeatures): choose a format with groups, such as int4_g128.")
    }
    self.layout = layout
    self.bytes = bytes
  }

  /// Packs codes of at most the format's `maximumInputFeatures`.
  public init(packing weights: QuantizedWeights) {
    let layout = PackedLayout(weights.format, weights.shape)
    precondition(
      weights.shape.inputFeatures <= weights.format.maximumInputFeatures,
      "\(weights.format) has no room for \(weights.shape.inputFeatures) input features")
    let storage = AlignedBytes(count: layout.storedBytes)
    storage.withUnsafeMutableBytes { target in
      guard let base = target.baseAddress else { return }
      Packing(layout: layout, base: base).write(weights.payload)
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
    let payload = withMatrix { matrix -> QuantizedWeights.Payload in
      var matrix = matrix
      codes.withUnsafeMutableBufferPointer { codes in
        for row in 0..<rows {
          bp_unpack_row_codes(
            &matrix, Int64(row), Int64(columns), codes.baseAddress.map { $0 + row * columns })
        }
      }
      return unpackedPayload(codes, matrix)
    }
    return QuantizedWeights(format: format, shape: shape, payload: payload)
  }

  /// Scales, zero points and what else a family has, to the codes.
  private func unpackedPayload(
    _ codes: [UInt8], _ matrix: bp_matrix
  ) -> QuantizedWeights.Payload {
    var matrix = matrix
    func each<Value>(
      _ count: Int, _ value: (UnsafePointer<bp_matrix>, Int64, Int64) -> Value
    ) -> [Value] {
      (0..<shape.outputFeatures).flatMap { row in
        (0..<count).map { value(&matrix, Int64(row), Int64($0)) }
      }
    }
    let groups = layout.groupCount
    switch format.coding {
    case .blockFloat: return .blockFloat(codes: codes, exponents: each(groups, bp_exponent))
    case .twoLevel:
      return .twoLevel(
        codes: codes, scales: each(1, bp_scale),
        levels: each(groups, bp_two_level_code).map(TwoLevelCode.init(byte:)))
    case .binary:
      return .binary(
        codes: codes, scales: each(layout.scalesPerRow, bp_scale),
        offsets: each(groups, bp_offset),
        planeWeights: each(groups * layout.planeWeightsPerGroup, bp_plane_weight))
    case .affine, .symmetric, .nonlinear, .perRow, .float16:
      return .integer(
        codes: codes, scales: each(layout.scalesPerRow, bp_scale),
        zeroPoints: format.coding == .affine
          ? each(groups, bp_zero_point).map { UInt8(truncatingIfNeeded: $0) } : [])
    }
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

  /// Calls `body` with the sections of an integer format; of `f16` the sizes alone mean something. Only who keeps ``bytes`` alive may let a pointer
  /// leave the closure.
  internal func withMatrix<Result>(_ body: (bp_matrix) -> Result) -> Result {
    bytes.withUnsafeBytes { bytes in
      guard let base = bytes.baseAddress else { preconditionFailure("a segment is never empty") }
      let scales = base + layout.scalesOffset
      let third = base + layout.zeroPointsOffset
      let coding = format.coding
      return body(
        bp_matrix(
          codes: base.assumingMemoryBound(to: UInt8.self),
          scales: coding == .blockFloat ? nil : scales.assumingMemoryBound(to: UInt16.self),
          zero_points: coding == .affine || coding == .twoLevel
            ? third.assumingMemoryBound(to: UInt8.self) : nil,
          rows: Int64(shape.outputFeatures), groups: Int64(layout.groupCount),
          group_size: Int32(format.groupSize), bit_width: Int32(format.bitWidth),
          family: coding.family,
          exponents: coding == .blockFloat ? scales.assumingMemoryBound(to: UInt8.self) : nil,
          offsets: coding == .binary ? third.assumingMemoryBound(to: UInt16.self) : nil))
    }
  }

  /// Calls `body` with the weights of the `f16` format; the same holds for the pointer.
  internal func withFloat16<Result>(_ body: (UnsafePointer<UInt16>) -> Result) -> Result {
    bytes.withUnsafeBytes { bytes in
      guard let base = bytes.baseAddress else { preconditionFailure("a segment is never empty") }
      return body(base.assumingMemoryBound(to: UInt16.self))
    }
  }
}

extension WeightFormat.Coding {
  /// The C library's name for it; `f16` is multiplied by a kernel of its own.
  fileprivate var family: bp_family {
    switch self {
    case .affine, .symmetric, .float16: BP_FAMILY_INTEGER
    case .nonlinear: BP_FAMILY_NONLINEAR
    case .blockFloat: BP_FAMILY_BLOCK_FLOAT
    case .perRow: BP_FAMILY_PER_ROW
    case .twoLevel: BP_FAMILY_TWO_LEVEL
    case .binary: BP_FAMILY_BINARY
    }
  }
}
