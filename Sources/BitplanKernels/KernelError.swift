/// Why a matrix or a multiplication was refused.
public enum KernelError: Error, Hashable, Sendable {
  /// Shapes or counts that do not belong together, in words.
  case shapeMismatch(String)
  /// Something that the kernels cannot do, in words.
  case unsupported(String)
}

extension KernelError: CustomStringConvertible {
  /// What happened, then what to do about it.
  public var description: String {
    switch self {
    case .shapeMismatch(let text), .unsupported(let text): text
    }
  }
}
