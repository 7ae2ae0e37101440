/// One weight matrix that the engine multiplies by or looks rows up in.
public struct OperatorDescription: Hashable, Sendable, Codable {
  /// What the engine does with it.
  public enum Role: String, Hashable, Sendable, Codable {
    /// `y = W · x` inside a layer.
    case linear
    /// `y = W · x` that gives the logits.
    case head
    /// A table whose rows are looked up.
    case embedding
    /// A table whose rows are looked up and which is also the head (tied weights): stored once.
    case tiedEmbedding
  }

  /// The checkpoint's tensor name without `.weight`, such as `model.layers.0.mlp.down_proj`.
  public let name: String
  /// `[outputFeatures, inputFeatures]`; for an embedding `[vocabulary, width]`.
  public let shape: MatrixShape
  /// What the engine does with it.
  public let role: Role
  /// Index of the layer it belongs to, or `nil` outside the layers.
  public let layer: Int?

  /// Describes an operator.
  public init(name: String, shape: MatrixShape, role: Role, layer: Int?) {
    self.name = name
    self.shape = shape
    self.role = role
    self.layer = layer
  }

  /// Whether a forward pass multiplies by the matrix (an embedding is only looked up).
  public var isMultiplied: Bool { role != .embedding }

  /// Tokens that meet the matrix in a forward pass over `batch` of them: the head works on the last one
  /// alone.
  public func multipliedTokens(ofBatch batch: Int) -> Int { role == .linear ? batch : 1 }
}
