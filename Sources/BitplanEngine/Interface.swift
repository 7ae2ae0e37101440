// INTERFACE STUB: to be replaced by one file per type. Signatures are the contract.
public import BitplanCore
public import BitplanCheckpoint
public import BitplanKernels

public struct EngineError: Error, Hashable, Sendable, CustomStringConvertible {
  public var description: String
  public init(_ description: String) { self.description = description }
}

/// The weights of one operator, in the form that a pass multiplies by.
public enum OperatorWeights: Sendable {
  /// float32, by BLAS. With a group size, activations are first rounded to 8 bits as the kernels do (simulation).
  case float(FloatMatrix, activationGroupSize: Int? = nil)
  /// Packed, by our kernels, activations quantized to 8 bits.
  case packed(PackedOperator)
}

/// A model ready to run: an architecture, its float vectors (norms, biases), and one `OperatorWeights` per operator.
/// A value: replacing an operator's weights makes another model that shares the rest.
public struct Model: Sendable {
  public enum Objective: Sendable { case nextToken, sentenceEmbedding }
  public let identity: ModelIdentity
  public let operators: [OperatorDescription]
  public var weights: [OperatorWeights]
  public let objective: Objective
  public let vocabularySize: Int
  public let maximumTokens: Int
  /// SHA-256 of shapes and layer structure: what a profile's whole-model correction belongs to.
  public let architectureSHA256: String
  /// Reads a float checkpoint (config.json beside it).
  public static func load(_ checkpoint: Checkpoint) throws -> Model { fatalError() }
  private init() { fatalError() }
}

/// Buffers and KV cache of one sequence.
public final class Session {
  public init(_ model: Model, context: KernelContext, capacity: Int) { fatalError() }
  public var position: Int { fatalError() }
  /// Forgets the sequence.
  public func reset() {}
  /// Language models: processes `tokens` after those already seen; returns logits `[tokens, vocabulary]` (or of the last token only).
  public func forward(_ tokens: [Int], lastOnly: Bool) throws(EngineError) -> FloatMatrix { fatalError() }
  /// Encoders: pooled sentence embedding (mean over tokens, L2-normalised).
  public func embed(_ tokens: [Int]) throws(EngineError) -> [Float] { fatalError() }
}
