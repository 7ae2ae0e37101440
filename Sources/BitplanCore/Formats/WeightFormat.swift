/// How the weights of a segment are stored: a closed set with identifiers that are stable on disk.
///
/// A format fixes bit width, group size, coding and packing, so it knows the exact stored size of
/// any shape (see ``PackedLayout``).
public struct WeightFormat: Hashable, Sendable {
  /// What a code means.
  public enum Coding: Hashable, Sendable {
    /// `w ≈ scale · (code − zeroPoint)`; scale is binary16, zero point an integer of the bit width.
    case affine
    /// `w ≈ scale · (code − 2^(bitWidth−1))`; scale is binary16; no stored zero point.
    case symmetric
    /// The weight itself as IEEE 754 binary16.
    case float16
  }

  /// What a code means.
  public let coding: Coding
  /// Bits of one code; 16 for ``Coding/float16``.
  public let bitWidth: Int
  /// Consecutive weights along input features that share a scale; 1 where there is no scale.
  public let groupSize: Int

  /// The name on disk and on the command line, such as `int4_g64`.
  public var identifier: String {
    switch coding {
    case .affine: "int\(bitWidth)_g\(groupSize)"
    case .symmetric: "int\(bitWidth)_g\(groupSize)s"
    case .float16: "f16"
    }
  }

  /// Every format, in ascending order of bit width, then descending group size.
  public static let all: [WeightFormat] = {
    var formats: [WeightFormat] = []
    for bits in [2, 3, 4, 5, 6, 8] {
      for group in [128, 64, 32] {
        formats.append(WeightFormat(coding: .affine, bitWidth: bits, groupSize: group))
      }
    }
    formats.append(WeightFormat(coding: .symmetric, bitWidth: 8, groupSize: 128))
    formats.append(.f16)
    return formats
  }()

  /// Binary16 weights: the closest to lossless, and what pins and small operators fall back to.
  public static let f16 = WeightFormat(coding: .float16, bitWidth: 16, groupSize: 1)

  /// Finds a format by its identifier.
  public init?(identifier: String) {
    guard let format = Self.all.first(where: { $0.identifier == identifier }) else { return nil }
    self = format
  }

  private init(coding: Coding, bitWidth: Int, groupSize: Int) {
    self.coding = coding
    self.bitWidth = bitWidth
    self.groupSize = groupSize
  }

  /// Exact stored size of a segment of this shape, scales, zero points and padding included.
  public func storedBytes(_ shape: MatrixShape) -> Int { PackedLayout(self, shape).storedBytes }
}

extension WeightFormat: Comparable {
  /// Orders as ``all`` does.
  public static func < (lhs: Self, rhs: Self) -> Bool {
    (lhs.bitWidth, -lhs.groupSize, lhs.identifier) < (rhs.bitWidth, -rhs.groupSize, rhs.identifier)
  }
}

extension WeightFormat: CustomStringConvertible {
  /// The identifier.
  public var description: String { identifier }
}

extension WeightFormat: Codable {
  /// Decodes an identifier; an unknown one is an error that lists the known ones.
  public init(from decoder: any Decoder) throws {
    let container = try decoder.singleValueContainer()
    let identifier = try container.decode(String.self)
    guard let format = WeightFormat(identifier: identifier) else {
      throw DecodingError.dataCorruptedError(
        in: container,
        debugDescription: "unknown format '\(identifier)'; this version knows "
          + Self.all.map(\.identifier).joined(separator: ", "))
    }
    self = format
  }

  /// Encodes the identifier.
  public func encode(to encoder: any Encoder) throws {
    var container = encoder.singleValueContainer()
    try container.encode(identifier)
  }
}
