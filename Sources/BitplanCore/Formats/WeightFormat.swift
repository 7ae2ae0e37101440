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
    /// `w ≈ scale · level[code]` with the 16 levels of ``NonlinearLevels``; scale is binary16.
    case nonlinear
    /// `w ≈ scale · (code − 2^(bitWidth−1))` where the scale is `2^(exponent − 127)` and the
    /// exponent one byte a group; exponent 0 stands for a scale of 0.
    case blockFloat
    /// `w ≈ scale · (code − 2^(bitWidth−1))` with one binary16 scale an output feature.
    case perRow
    /// `w ≈ scale · groupScale · (code − zeroPoint)`: a binary16 scale an output feature, an
    /// integer scale of 1…16 and a zero point of 0…15 a group (see ``TwoLevelCode``).
    case twoLevel
    /// `w ≈ offset + scale · Σ_i ±planeWeight_i`, plus where bit `i` of the code is 1: a binary16
    /// scale and a binary16 offset a group, and from 2 bits on a byte for every bit of the group (see
    /// ``PlaneWeights``).
    case binary
    /// The weight itself as IEEE 754 binary16.
    case float16
  }

  /// What a code means.
  public let coding: Coding
  /// Bits of one code; 16 for ``Coding/float16``.
  public let bitWidth: Int
  /// Consecutive weights along input features that share a scale; 1 where there is no scale, and
  /// for ``Coding/perRow``, whose rows have one scale, the run in which weights are packed.
  public let groupSize: Int

  /// The name on disk and on the command line, such as `int4_g64`.
  public var identifier: String {
    switch coding {
    case .affine: "int\(bitWidth)_g\(groupSize)"
    case .symmetric: "int\(bitWidth)_g\(groupSize)s"
    case .nonlinear: "nl\(bitWidth)_g\(groupSize)"
    case .blockFloat: "bfp\(bitWidth)_b\(groupSize)"
    case .perRow: "int\(bitWidth)_row"
    case .twoLevel: "int\(bitWidth)_g\(groupSize)q"
    case .binary: "bcq\(bitWidth)_g\(groupSize)"
    case .float16: "f16"
    }
  }

  /// Consecutive input features whose activations share a scale: the group size; 1 for binary16
  /// weights, which are multiplied by the activations themselves; ``wholeToken`` where every token
  /// has one scale.
  public var activationGroupSize: Int {
    switch coding {
    case .perRow, .twoLevel: Self.wholeToken
    case .affine, .symmetric, .nonlinear, .blockFloat, .binary, .float16: groupSize
    }
  }

  /// An activation group size that spans any number of input features.
  public static let wholeToken = Int.max

  /// Most input features that the format's integer sums have room for; see `bitplan_kernels.h`.
  public var maximumInputFeatures: Int {
    activationGroupSize == Self.wholeToken ? 1 << 17 : Int(Int32.max)
  }

  /// Every format, in ascending order of bit width, then descending group size.
  public static let all: [WeightFormat] = {
    var formats: [WeightFormat] = [.f16]
    func add(_ coding: Coding, bits: [Int], groups: [Int]) {
      for bits in bits {
        for group in groups {
          formats.append(WeightFormat(coding: coding, bitWidth: bits, groupSize: group))
        }
      }
    }
    add(.affine, bits: [2, 3, 4, 5, 6, 8], groups: [128, 64, 32])
    add(.symmetric, bits: [8], groups: [128])
    add(.nonlinear, bits: [4], groups: [128, 64, 32])
    add(.blockFloat, bits: [4, 6, 8], groups: [32])
    add(.perRow, bits: [8], groups: [128])
    add(.twoLevel, bits: [4], groups: [128])
    add(.binary, bits: [1, 2, 3, 4], groups: [128])
    return formats.sorted()
  }()

  /// The formats that a search chooses among unless it is told others; the rest lose to them at equal
  /// size, or win by no more than noise. In the order of ``all``.
  public static let candidates: [WeightFormat] = all.filter {
    switch $0.coding {
    // What a group of 32 adds in scales buys more as a bit; with 4 and 5 bits a few rows take it.
    case .affine:
      $0.groupSize > 32 && $0.bitWidth < 8 || [4, 5].contains($0.bitWidth)
        || $0.identifier == "int8_g128"
    case .symmetric, .float16: true
    // Uneven levels: groups of 32 are as large as 5 bits in groups of 128, which lose less.
    case .nonlinear: $0.groupSize > 32
    case .twoLevel, .blockFloat, .perRow, .binary: false
    }
  }

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
