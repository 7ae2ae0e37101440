/// Why a model could not be loaded or run: what happened with the values, then what to do.
public struct EngineError: Error, Hashable, Sendable, CustomStringConvertible {
  /// What happened, then what to do about it.
  public var description: String

  /// Makes an error from its message.
  public init(_ description: String) { self.description = description }
}
