public import BitplanCore
public import BitplanKernels

/// The weights of one operator, in the form that a pass multiplies by.
public enum OperatorWeights: Sendable {
  /// float32 `[outputFeatures, inputFeatures]`, multiplied by BLAS. With a group size, activations
  /// are first rounded to 8 bits per token and group, exactly as the packed kernels round them.
  case float(FloatMatrix, activationGroupSize: Int? = nil)
  /// Packed, multiplied by the integer kernels, activations quantized to 8 bits.
  case packed(PackedOperator)
  /// float32 that is made each time it is needed: a model with many changed operators then takes
  /// the memory of one.
  case deferred(MatrixShape, @Sendable () -> FloatMatrix)

  /// `[outputFeatures, inputFeatures]`.
  public var shape: MatrixShape {
    switch self {
    case .float(let matrix, _):
      MatrixShape(outputFeatures: matrix.rows, inputFeatures: matrix.columns)
    case .packed(let packed): packed.shape
    case .deferred(let shape, _): shape
    }
  }

  /// The weights as float32 `[outputFeatures, inputFeatures]`: shared for float weights,
  /// dequantized into a new matrix for packed ones.
  public var floats: FloatMatrix {
    switch self {
    case .float(let matrix, _): matrix
    case .packed(let packed): packed.dequantized()
    case .deferred(_, let make): make()
    }
  }
}
