/// How a session keeps keys and values between tokens.
///
/// Integers have a scale and an offset in binary16 for every token and head, so that a token's
/// outliers cost no other token precision.
public enum KeyValueFormat: String, Hashable, Sendable, Codable, CaseIterable {
  /// float32, exact.
  case float
  /// 8 bits a value.
  case int8
  /// 4 bits a value.
  case int4

  /// Bytes of one head of one token, of keys or of values.
  ///
  /// - Parameter headSize: values; even.
  public func bytes(headSize: Int) -> Int {
    switch self {
    case .float: 4 * headSize
    case .int8: headSize + 4
    case .int4: headSize / 2 + 4
    }
  }
}
