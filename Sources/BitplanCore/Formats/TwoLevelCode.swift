/// The integer scale and the zero point of one group of a two-level format, in one byte.
///
/// A weight is `scale · byte`, where `byte` is `groupScale · (code − zeroPoint)` modulo 256 as a
/// signed number. Quantizers keep it within −127…127, so that nothing wraps; any other content is
/// still well defined, and the same on every instruction set.
public struct TwoLevelCode: Hashable, Sendable {
  /// `zeroPoint + 16 · (groupScale − 1)`.
  public let byte: UInt8

  /// Takes a stored byte; every byte is valid.
  public init(byte: UInt8) { self.byte = byte }

  /// Joins a group scale of 1…16 and a zero point of 0…15.
  public init(groupScale: Int, zeroPoint: Int) {
    precondition((1...16).contains(groupScale) && (0...15).contains(zeroPoint))
    byte = UInt8(zeroPoint + 16 * (groupScale - 1))
  }

  /// What the codes of a group are multiplied by, 1…16.
  public var groupScale: Int { Int(byte >> 4) + 1 }
  /// Code that means 0, 0…15.
  public var zeroPoint: Int { Int(byte & 15) }

  /// The integer weight that `code` stands for.
  public func weight(_ code: UInt8) -> Int8 {
    Int8(truncatingIfNeeded: groupScale * (Int(code) - zeroPoint))
  }

  /// The codes whose weights stay within −127…127: the protective range of Lin et al. 2024 (QServe,
  /// arXiv:2405.04532).
  public var codes: ClosedRange<Int> {
    let reach = 127 / groupScale
    return max(0, zeroPoint - reach)...min(15, zeroPoint + reach)
  }
}
