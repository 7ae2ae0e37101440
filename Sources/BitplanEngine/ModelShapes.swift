public import BitplanCheckpoint
public import BitplanCore

/// The operators that a `config.json` calls for, without the weights: enough to time a model on this
/// machine before its checkpoint is there.
public struct ModelShapes: Sendable {
  /// Every weight matrix, in the order of execution.
  public let operators: [OperatorDescription]

  /// Reads the configuration `path` of a known architecture.
  ///
  /// - Throws: `CheckpointError` for a file that is missing, damaged or out of range, `EngineError`
  ///   for an unsupported architecture.
  public init(configuration path: String) throws {
    try self.init(ModelConfiguration(path: path))
  }

  /// Takes the operators of a configuration.
  public init(_ configuration: ModelConfiguration) throws {
    operators = try Architectures.make(configuration, tensorNames: []).operators
  }
}
