internal import BitplanCore
internal import BitplanKernels

/// Grids of even steps: `w ≈ scale · multiplier · (code − zeroPoint)`.
///
/// Affine and symmetric formats have a scale a group, per-row formats one a row, block floating point
/// one that is a power of two and is not refitted; two-level formats have a scale a row that is
/// refitted and a whole multiplier a group that is not.
///
/// `@unchecked Sendable`: a chunk and its grids belong to one thread at a time.
final class EvenGrids: RoundingGrids, @unchecked Sendable {
  let span: Int
  let parameterCount: Int
  private let format: WeightFormat
  private let groupSize: Int
  private let matrices: [FloatMatrix]
  /// `[spans][height]`.
  private let scales: UnsafeMutablePointer<Float>
  /// `[groups][height]` each; a step is scale times multiplier.
  private let zeros, multipliers, steps, low, high: UnsafeMutablePointer<Float>

  /// Grids for rows of `size` input features.
  init(_ format: WeightFormat, size: Int) {
    self.format = format
    let rowWide = format.coding == .perRow || format.coding == .twoLevel
    groupSize = format.coding == .perRow ? max(1, size) : format.groupSize
    span = rowWide ? max(1, size) : format.groupSize
    parameterCount = format.coding == .blockFloat ? 0 : 1
    let groups = (size + groupSize - 1) / groupSize
    matrices = [(size + span - 1) / span, groups, groups, groups, groups, groups].map {
      FloatMatrix(rows: max(1, $0), columns: Lanes.height)
    }
    let addresses = matrices.map(Lanes.address)
    scales = addresses[0]
    (zeros, multipliers, steps) = (addresses[1], addresses[2], addresses[3])
    (low, high) = (addresses[4], addresses[5])
  }

  /// Takes the grids of a row of an affine or symmetric format.
  func set(row: Int, grids: [GroupGrid]) {
    for (group, grid) in grids.enumerated() {
      set(
        row, group, scale: grid.scale, zero: grid.zeroPoint, multiplier: 1,
        codes: 0...grid.maximumCode)
    }
  }

  /// Takes the numbers of a row of any other even format.
  func set(row: Int, fitted: FittedRow) {
    let middle = Float(1 << (format.bitWidth - 1))
    let top = Float((1 << format.bitWidth) - 1)
    switch format.coding {
    case .blockFloat:
      for (group, exponent) in fitted.bytes.enumerated() {
        // A block of zeros takes the smallest scale: codes must have something to be divided by.
        let scale = QuantizedWeights.scale(exponent: max(1, exponent))
        set(row, group, scale: scale, zero: middle, multiplier: 1, codes: 0...top)
      }
    case .twoLevel:
      let scale = Float(Float16(bitPattern: fitted.scales[0]))
      for (group, byte) in fitted.bytes.enumerated() {
        let level = TwoLevelCode(byte: byte)
        set(
          row, group, scale: scale, zero: Float(level.zeroPoint),
          multiplier: Float(level.groupScale),
          codes: Float(level.codes.lowerBound)...Float(level.codes.upperBound))
      }
    case .perRow, .affine, .symmetric, .nonlinear, .binary, .float16:
      for (group, scale) in fitted.scales.enumerated() {
        set(
          row, group, scale: Float(Float16(bitPattern: scale)), zero: middle, multiplier: 1,
          codes: 0...top)
      }
    }
  }

  /// A row whose place no weights take.
  func clear(row: Int) {
    for group in 0..<matrices[1].rows {
      set(row, group, scale: 1, zero: 0, multiplier: 1, codes: 0...1)
    }
  }

  private func set(
    _ row: Int, _ group: Int, scale: Float, zero: Float, multiplier: Float,
    codes: ClosedRange<Float>
  ) {
    let at = group * Lanes.height + row
    scales[group * groupSize / span * Lanes.height + row] = scale
    zeros[at] = zero
    multipliers[at] = multiplier
    steps[at] = scale * multiplier
    low[at] = codes.lowerBound
    high[at] = codes.upperBound
  }

  // MARK: What is stored

  /// The scale of a span as it is stored.
  func scaleBits(row: Int, span: Int) -> UInt16 {
    Float16(scales[span * Lanes.height + row]).bitPattern
  }

  /// The zero point of a group.
  func zeroPoint(row: Int, group: Int) -> UInt8 { UInt8(zeros[group * Lanes.height + row]) }

  /// A row's numbers around `codes`, for formats that are not affine or symmetric.
  func fitted(row: Int, codes: [UInt8]) -> FittedRow {
    let spans = 0..<matrices[0].rows
    let groups = 0..<matrices[1].rows
    switch format.coding {
    case .blockFloat:
      return FittedRow(
        codes: codes,
        bytes: groups.map { UInt8(scales[$0 * Lanes.height + row].bitPattern >> 23) })
    case .twoLevel:
      return FittedRow(
        codes: codes, scales: spans.map { scaleBits(row: row, span: $0) },
        bytes: groups.map { group in
          let at = group * Lanes.height + row
          return TwoLevelCode(groupScale: Int(multipliers[at]), zeroPoint: Int(zeros[at])).byte
        })
    case .perRow, .affine, .symmetric, .nonlinear, .binary, .float16:
      return FittedRow(codes: codes, scales: spans.map { scaleBits(row: row, span: $0) })
    }
  }

  // MARK: Rounding

  @inline(__always)
  func round(
    _ target: UnsafeMutablePointer<Float>, column: Int, codes: UnsafeMutablePointer<Float>,
    values: UnsafeMutablePointer<Float>
  ) {
    let group = column / groupSize * Lanes.height
    let rounding = Lanes.Vector(repeating: Lanes.roundingConstant)
    for lane in stride(from: 0, to: Lanes.height, by: Lanes.count) {
      let step = Lanes.load(steps + group + lane)
      let zero = Lanes.load(zeros + group + lane)
      let position = (Lanes.load(target + lane) / step + zero)
        .clamped(
          lowerBound: Lanes.load(low + group + lane), upperBound: Lanes.load(high + group + lane))
      let code = (position + rounding) - rounding
      Lanes.store(code, codes + lane)
      Lanes.store((code - zero) * step, values + lane)
    }
  }

  func basis(
    _ parameter: Int, column: Int, codes: UnsafeMutablePointer<Float>,
    into target: UnsafeMutablePointer<Float>
  ) {
    let group = column / groupSize * Lanes.height
    for lane in stride(from: 0, to: Lanes.height, by: Lanes.count) {
      let level = Lanes.load(codes + lane) - Lanes.load(zeros + group + lane)
      Lanes.store(level * Lanes.load(multipliers + group + lane), target + lane)
    }
  }

  func parameters(_ parameter: Int, span: Int) -> UnsafeMutablePointer<Float> {
    scales + span * Lanes.height
  }

  func stored(_ wanted: Float, parameter: Int, span: Int, row: Int) -> Float {
    // As in GroupGrid: neither a scale of next to no precision nor an infinite one.
    Float(Float16(min(max(wanted, 9.536_743e-07), 65_504)))
  }

  func refresh(span index: Int) {
    let first = index * span / groupSize
    let last = min(matrices[1].rows, first + (span + groupSize - 1) / groupSize)
    for group in first..<last {
      for lane in stride(from: 0, to: Lanes.height, by: Lanes.count) {
        let at = group * Lanes.height + lane
        Lanes.store(
          Lanes.load(scales + index * Lanes.height + lane) * Lanes.load(multipliers + at),
          steps + at)
      }
    }
  }

  func value(
    column: Int, codes: UnsafeMutablePointer<Float>, into values: UnsafeMutablePointer<Float>
  ) {
    let group = column / groupSize * Lanes.height
    for lane in stride(from: 0, to: Lanes.height, by: Lanes.count) {
      let level = Lanes.load(codes + lane) - Lanes.load(zeros + group + lane)
      Lanes.store(level * Lanes.load(steps + group + lane), values + lane)
    }
  }
}
