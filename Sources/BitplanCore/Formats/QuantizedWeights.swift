/// The weights of one segment as codes, row-major, before packing.
public struct QuantizedWeights: Sendable {
  /// What is stored, by coding. Scales and offsets are binary16 bit patterns.
  public enum Payload: Sendable {
    /// Affine, symmetric, non-linear and per-row formats: codes `[outputFeatures, inputFeatures]`,
    /// one byte each; scales `[outputFeatures, scalesPerRow]`; zero points
    /// `[outputFeatures, groups]`, empty unless the format is affine.
    case integer(codes: [UInt8], scales: [UInt16], zeroPoints: [UInt8])
    /// Block floating point: codes as above and exponents `[outputFeatures, groups]`; the scale is
    /// `2^(exponent − 127)`, and 0 for exponent 0.
    case blockFloat(codes: [UInt8], exponents: [UInt8])
    /// Two-level formats: codes as above, scales `[outputFeatures]`, and integer scales with zero
    /// points `[outputFeatures, groups]`.
    case twoLevel(codes: [UInt8], scales: [UInt16], levels: [TwoLevelCode])
    /// Binary coding: codes as above, bit `i` for plane weight `i`; scales and offsets
    /// `[outputFeatures, groups]`; plane weights `[outputFeatures, groups, bitWidth]`, none with one
    /// bit.
    case binary(codes: [UInt8], scales: [UInt16], offsets: [UInt16], planeWeights: [UInt8])
    /// Binary16 bit patterns `[outputFeatures, inputFeatures]`.
    case float16([UInt16])
  }

  /// The format the codes are for.
  public let format: WeightFormat
  /// The logical shape.
  public let shape: MatrixShape
  /// Codes and their meaning.
  public let payload: Payload

  /// The array sizes must agree with `format` and `shape`, and codes must be below `2^bitWidth`.
  public init(format: WeightFormat, shape: MatrixShape, payload: Payload) {
    let layout = PackedLayout(format, shape)
    let groups = shape.outputFeatures * layout.groupCount
    let scaleCount = shape.outputFeatures * layout.scalesPerRow
    let holds: [WeightFormat.Coding]
    switch payload {
    case .integer(let codes, let scales, let zeroPoints):
      holds = [.affine, .symmetric, .nonlinear, .perRow]
      precondition(codes.count == shape.weightCount, "one code for every weight")
      precondition(scales.count == scaleCount, "one scale for every group, or for every row")
      precondition(
        zeroPoints.count == (format.coding == .affine ? groups : 0),
        "one zero point for every group of an affine format")
    case .blockFloat(let codes, let exponents):
      holds = [.blockFloat]
      precondition(codes.count == shape.weightCount, "one code for every weight")
      precondition(exponents.count == groups, "one exponent for every group")
    case .twoLevel(let codes, let scales, let levels):
      holds = [.twoLevel]
      precondition(codes.count == shape.weightCount, "one code for every weight")
      precondition(scales.count == scaleCount, "one scale for every row")
      precondition(levels.count == groups, "one integer scale for every group")
    case .binary(let codes, let scales, let offsets, let planeWeights):
      holds = [.binary]
      precondition(codes.count == shape.weightCount, "one code for every weight")
      precondition(scales.count == scaleCount, "one scale for every group")
      precondition(offsets.count == groups, "one offset for every group")
      precondition(
        planeWeights.count == groups * layout.planeWeightsPerGroup,
        "one plane weight for every bit of every group, from 2 bits on")
    case .float16(let values):
      holds = [.float16]
      precondition(values.count == shape.weightCount, "one value for every weight")
    }
    precondition(holds.contains(format.coding), "\(format) does not store this payload")
    self.format = format
    self.shape = shape
    self.payload = payload
  }
}
