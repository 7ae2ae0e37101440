/// The shape of one operator's weight matrix: `[outputFeatures, inputFeatures]`, row-major.
public struct MatrixShape: Hashable, Sendable, Codable {
  /// Rows: elements of `y` in `y = W · x`.
  public let outputFeatures: Int
  /// Columns: elements of `x` in `y = W · x`.
  public let inputFeatures: Int

  /// Both sizes must be positive.
  public init(outputFeatures: Int, inputFeatures: Int) {
    precondition(outputFeatures > 0 && inputFeatures > 0, "a weight matrix is never empty")
    self.outputFeatures = outputFeatures
    self.inputFeatures = inputFeatures
  }

  /// Logical weights, without padding.
  public var weightCount: Int { outputFeatures * inputFeatures }
}

extension MatrixShape: CustomStringConvertible {
  /// For example `256×768`.
  public var description: String { "\(outputFeatures)×\(inputFeatures)" }
}
