/// Where every byte of a packed segment lies.
///
/// Rows are interleaved in tiles of 16 output features; input features are taken four at a time
/// (a *unit*: 16 rows × 4 input features, row-major inside the unit: byte `4·row + k mod 4`). A
/// segment is three consecutive sections, each starting at a multiple of 64 bytes:
///
/// 1. **codes**, ordered `[tile][group]`; one group of one tile takes `2 · bitWidth · groupSize`
///    bytes. A bit width is stored as *planes* of 8, 4, 2 or 1 bits (3 = 2 + 1, 5 = 4 + 1,
///    6 = 4 + 2; binary coding: all of 1 bit), the low bits in the first plane, each plane
///    contiguous inside the group. A plane of `p` bits stores `8/p` consecutive units in 64 bytes:
///    byte `i` holds the bits of byte `i` of unit `u` at bit position `p · (u mod 8/p)`.
/// 2. **scales**, binary16, ordered `[tile][group][row]`; `[tile][row]` where rows have one scale;
///    one exponent byte each for block floating point.
/// 3. **zero points**, ordered `[tile][group]`. Affine: `2 · bitWidth` bytes each, planes as
///    for the codes, where a plane of `p` bits takes `2·p` bytes and byte `i` holds row
///    `i + j · 2p` at bit position `p · j`, for `j < 8/p`. Two-level: one ``TwoLevelCode`` byte a
///    row. Binary coding: one binary16 offset a row, then from 2 bits on the plane weights, bytes
///    ordered `[bit][row]`. Other formats have no such section.
///
/// `f16` has one section: binary16 weights ordered `[tile][inputFeature][row]`.
///
/// Rows are padded to a multiple of 16 and input features to a multiple of the group size. Codes
/// of padding rows and columns are 0, as are their scales and zero points.
public struct PackedLayout: Hashable, Sendable {
  /// Output features of a tile.
  public static let tileHeight = 16
  /// Every section starts at a multiple of this many bytes.
  public static let alignment = 64

  /// The format laid out.
  public let format: WeightFormat
  /// The logical shape.
  public let shape: MatrixShape

  /// Lays `format` out for `shape`.
  public init(_ format: WeightFormat, _ shape: MatrixShape) {
    self.format = format
    self.shape = shape
  }

  /// Tiles of 16 output features.
  public var tileCount: Int { Self.tileCount(rows: shape.outputFeatures) }
  /// Tiles that so many output features take.
  public static func tileCount(rows: Int) -> Int { (rows + tileHeight - 1) / tileHeight }
  /// Groups along the input features; for `f16`, the input features themselves.
  public var groupCount: Int { (shape.inputFeatures + format.groupSize - 1) / format.groupSize }
  /// Scales of one output feature.
  public var scalesPerRow: Int {
    switch format.coding {
    case .affine, .symmetric, .nonlinear, .blockFloat, .binary: groupCount
    case .perRow, .twoLevel: 1
    case .float16: 0
    }
  }
  /// Plane weights of one group of one output feature.
  public var planeWeightsPerGroup: Int {
    format.coding == .binary && format.bitWidth > 1 ? format.bitWidth : 0
  }
  /// Input features with padding.
  public var paddedInputFeatures: Int { groupCount * format.groupSize }
  /// Bytes of the codes of one group of one tile (`f16`: of one input feature of one tile).
  public var codeBytesPerGroup: Int { 2 * format.bitWidth * format.groupSize }
  /// Bytes of the zero points of one group of one tile; 0 where none are stored.
  public var zeroPointBytesPerGroup: Int {
    switch format.coding {
    case .affine: 2 * format.bitWidth
    case .twoLevel: Self.tileHeight
    case .binary: (2 + planeWeightsPerGroup) * Self.tileHeight
    case .symmetric, .nonlinear, .blockFloat, .perRow, .float16: 0
    }
  }

  /// Size of the codes section without its end padding.
  public var codesBytes: Int { tileCount * groupCount * codeBytesPerGroup }
  /// Start of the scales section.
  public var scalesOffset: Int { Self.aligned(codesBytes) }
  /// Size of the scales section without its end padding.
  public var scalesBytes: Int {
    tileCount * scalesPerRow * Self.tileHeight * (format.coding == .blockFloat ? 1 : 2)
  }
  /// Start of the zero-points section.
  public var zeroPointsOffset: Int { scalesOffset + Self.aligned(scalesBytes) }
  /// Size of the zero-points section without its end padding.
  public var zeroPointsBytes: Int { tileCount * groupCount * zeroPointBytesPerGroup }
  /// Everything: what one segment takes in a packed checkpoint.
  public var storedBytes: Int { zeroPointsOffset + Self.aligned(zeroPointsBytes) }

  /// The widths of the planes of `bitWidth`, low bits first, such as `[4, 1]` for 5. Binary coding
  /// has planes of one bit instead.
  public static func planes(ofBitWidth bitWidth: Int) -> [Int] {
    switch bitWidth {
    case 3: [2, 1]
    case 5: [4, 1]
    case 6: [4, 2]
    default: [bitWidth]
    }
  }

  private static func aligned(_ bytes: Int) -> Int {
    (bytes + alignment - 1) / alignment * alignment
  }
}
