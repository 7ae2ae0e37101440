/// What is wrong with a checkpoint or one of the files beside it, and what to do about it.
public struct CheckpointError: Error, Hashable, Sendable, CustomStringConvertible {
  /// What happened with the values, then what to do: one or two sentences for the user.
  public var description: String

  /// Makes an error from its sentences.
  public init(_ description: String) { self.description = description }
}

extension String {
  /// The text in quotes, without control characters and cut to a length that a terminal can show.
  ///
  /// Names in hostile files may be megabytes long or move the cursor.
  var quoted: String {
    var result = "'"
    var count = 0
    for scalar in unicodeScalars {
      guard count < 120 else {
        result += "…"
        break
      }
      count += 1
      switch scalar.properties.generalCategory {
      case .control, .format, .lineSeparator, .paragraphSeparator, .unassigned, .privateUse:
        result += "\\u{" + String(scalar.value, radix: 16) + "}"
      default:
        result.unicodeScalars.append(scalar)
      }
    }
    return result + "'"
  }
}
