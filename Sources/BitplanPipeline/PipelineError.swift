internal import BitplanCheckpoint
internal import BitplanCore
internal import BitplanEngine
internal import BitplanSearch

/// Why a verb did not do what was asked, with the exit code that `plan` ends with.
public struct PipelineError: Error, Hashable, Sendable, CustomStringConvertible {
  /// What kind of failure it is.
  public enum Kind: String, Hashable, Sendable, CaseIterable {
    /// The program itself is at fault.
    case internalFailure
    /// No plan fits the budgets.
    case infeasible
    /// An artifact belongs to another model, device, build or set of options.
    case stale
    /// A measured value is outside the stated tolerance.
    case toleranceBroken
    /// A checkpoint, text or artifact is malformed or of a kind that is not supported.
    case invalidInput
    /// A file or folder is not there or cannot be read.
    case missingInput
    /// A result could not be written.
    case cannotWrite
    /// The user stopped it.
    case interrupted

    /// The process exit code, as `Documentation/ExitCodes.md` lists them.
    public var exitCode: Int32 {
      switch self {
      case .internalFailure: 1
      case .infeasible: 2
      case .stale: 3
      case .toleranceBroken: 4
      case .invalidInput: 65
      case .missingInput: 66
      case .cannotWrite: 73
      case .interrupted: 130
      }
    }
  }

  /// What kind of failure it is.
  public let kind: Kind
  /// What happened, then what to do.
  public let description: String

  /// Makes an error.
  public init(_ kind: Kind, _ description: String) {
    self.kind = kind
    self.description = description
  }

  /// The same failure in the pipeline's terms.
  public init(wrapping error: any Error) {
    switch error {
    case let error as PipelineError: self = error
    case is CancellationError:
      self.init(.interrupted, "Stopped. Nothing half-written was left behind.")
    case let error as CheckpointError: self.init(.invalidInput, error.description)
    case let error as EngineError: self.init(.invalidInput, error.description)
    case let error as SearchError: self.init(wrapping: error)
    default: self.init(.internalFailure, "\(error)")
    }
  }

  private init(wrapping error: SearchError) {
    switch error {
    case .infeasible(let limit, let value, let smallest):
      self.init(
        .infeasible,
        "No plan keeps \(limit) within \(value): the smallest feasible value is \(smallest).")
    case .invalidProblem(let text):
      self.init(.invalidInput, "The search has no valid problem: \(text)")
    case .solverFailed(let text):
      self.init(.internalFailure, "The solver failed: \(text)")
    }
  }
}
