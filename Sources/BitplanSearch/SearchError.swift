/// Why a search has no answer.
public enum SearchError: Error, Hashable, Sendable {
  /// The problem's numbers make no sense; the text says where and what to do.
  case invalidProblem(String)
  /// No assignment meets `limit`.
  ///
  /// `value` is the limit as given; `smallestFeasible` is the smallest value of it that can be met
  /// with the other limits as they are (with those of them, in the order given, that can be met
  /// together). It is a total that some assignment has exactly; for problems of more than 2,000
  /// choices, or where time ran out, a slightly smaller one may exist (within 0.001 % if there was
  /// time).
  case infeasible(limit: String, value: Double, smallestFeasible: Double)
  /// The solver gave no usable answer; the text says why and what to do.
  case solverFailed(String)
}

extension SearchError: CustomStringConvertible {
  /// What happened, then what to do about it.
  public var description: String {
    switch self {
    case .invalidProblem(let text), .solverFailed(let text): text
    case .infeasible(let limit, let value, let smallest):
      "No assignment meets the limit of \(value) on '\(limit)': with the other limits as they are, "
        + "\(smallest) is the smallest total. Raise the limit to at least \(smallest), allow "
        + "smaller formats, or relax another limit."
    }
  }
}
