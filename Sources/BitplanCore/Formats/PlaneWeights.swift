/// The plane weights of one group of binary coding: what each bit of a code adds or takes off.
///
/// A code stands for `Σ ±q_i`, plus where bit `i` is 1, modulo 256 as a signed number. Quantizers keep
/// the sum of all within ``most``, so that nothing wraps; any other content is still well defined, and
/// the same on every instruction set.
public struct PlaneWeights: Hashable, Sendable {
  /// Largest sum for which no code wraps.
  public static let most = 127

  /// One for every bit, the lowest first.
  public let values: [UInt8]

  /// Takes stored plane weights; where none are stored, there is one bit with a weight of 1.
  public init(stored values: some Collection<UInt8>) {
    self.values = values.isEmpty ? [1] : Array(values)
  }

  /// The integer weight that `code` stands for.
  public func weight(_ code: UInt8) -> Int8 {
    var sum: UInt8 = 0
    for (bit, value) in values.enumerated() {
      if code >> UInt8(bit) & 1 == 1 { sum &+= value } else { sum &-= value }
    }
    return Int8(bitPattern: sum)
  }
}
