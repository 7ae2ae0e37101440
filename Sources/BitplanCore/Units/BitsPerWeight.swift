/// Storage cost of weights: every stored bit divided by the number of weights.
///
/// Codes, scales, zero points, row maps and padding count; only the logical weights divide. A
/// format with 4-bit codes and one 16-bit scale for every 32 weights therefore costs
/// `4 + 16/32 = 4.5` bits per weight, not 4.
public struct BitsPerWeight: Hashable, Comparable, Sendable {
  /// Bits per weight.
  public let value: Double

  /// Divides `storedBytes` · 8 by `weightCount`, which must be positive.
  public init(storedBytes: Int, weightCount: Int) {
    precondition(weightCount > 0, "weightCount must be positive")
    self.value = Double(storedBytes) * 8 / Double(weightCount)
  }

  /// Whether `lhs` stores a weight in fewer bits than `rhs`.
  public static func < (lhs: Self, rhs: Self) -> Bool { lhs.value < rhs.value }
}
