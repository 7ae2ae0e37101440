import BitplanCore

extension KeyValueFormat {
  /// Largest code; 0 where there are none.
  var maximumCode: Float {
    switch self {
    case .float: 0
    case .int8: 255
    case .int4: 15
    }
  }
}
