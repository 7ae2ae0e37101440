/// The weights of one segment as codes, row-major, before packing.
public struct QuantizedWeights: Sendable {
  /// What is stored, by coding.
  public enum Payload: Sendable {
    /// Codes `[outputFeatures, inputFeatures]`, one byte each; scales (binary16 bit patterns) and
    /// zero points `[outputFeatures, groups]`. Symmetric formats have an empty `zeroPoints`.
    case integer(codes: [UInt8], scales: [UInt16], zeroPoints: [UInt8])
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
    switch payload {
    case .integer(let codes, let scales, let zeroPoints):
      let groups = PackedLayout(format, shape).groupCount
      precondition(codes.count == shape.weightCount, "one code for every weight")
      precondition(scales.count == shape.outputFeatures * groups, "one scale for every group")
      precondition(
        zeroPoints.count == (format.coding == .affine ? scales.count : 0),
        "one zero point for every group of an affine format")
    case .float16(let values):
      precondition(format.coding == .float16 && values.count == shape.weightCount)
    }
    self.format = format
    self.shape = shape
    self.payload = payload
  }

  /// The real weights that the codes stand for, `[outputFeatures, inputFeatures]`, row-major.
  public func dequantized() -> [Float] {
    switch payload {
    case .float16(let values):
      return values.map { Float(Float16(bitPattern: $0)) }
    case .integer(let codes, let scales, let zeroPoints):
      let groups = PackedLayout(format, shape).groupCount
      let (columns, groupSize) = (shape.inputFeatures, format.groupSize)
      let middle = 1 << (format.bitWidth - 1)
      var result = [Float](repeating: 0, count: codes.count)
      for row in 0..<shape.outputFeatures {
        for group in 0..<groups {
          let scale = Float(Float16(bitPattern: scales[row * groups + group]))
          let zero = zeroPoints.isEmpty ? middle : Int(zeroPoints[row * groups + group])
          for column in group * groupSize..<min((group + 1) * groupSize, columns) {
            let index = row * columns + column
            result[index] = scale * Float(Int(codes[index]) - zero)
          }
        }
      }
      return result
    }
  }
}
