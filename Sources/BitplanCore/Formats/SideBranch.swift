/// What is kept beside the codes of an operator and added to what they give.
///
/// A branch is taken out of the weights before codes are sought for the rest, so it is the same
/// whatever formats the rows have, and what rounding it leaves over is the codes' to make up for.
public enum SideBranch: Hashable, Sendable {
  /// `B · A` with so many columns of `B`, which is kept in binary16, and `A` in ``rightFormat``
  /// (SVDQuant, Li et al. 2024, arXiv:2411.05007).
  case lowRank(Int)
  /// So many ten thousandths of the weights, in compressed rows: a column and a bfloat16 difference
  /// each (SpQR, Dettmers et al. 2023, arXiv:2306.03078).
  case outliers(basisPoints: Int)

  /// The format of the right factor of a low-rank branch, which meets the operator's input: what that
  /// is rounded to for the codes serves the branch as well.
  public static let rightFormat: WeightFormat = {
    guard let format = WeightFormat(identifier: "int8_g128s") else {
      preconditionFailure("the format is one of all")
    }
    return format
  }()
  /// Largest rank of a branch.
  public static let largestRank = 1024
  /// Most ten thousandths of the weights: beyond that a format with more bits is always smaller.
  public static let mostBasisPoints = 1000

  /// The name on disk and on the command line, such as `rank16` or `outliers0.5%`.
  public var identifier: String {
    switch self {
    case .lowRank(let rank): return "rank\(rank)"
    case .outliers(let points):
      var text = "\(points / 100)"
      if points % 100 != 0 {
        text += points % 10 == 0 ? ".\(points / 10 % 10)" : ".\(points / 10 % 10)\(points % 10)"
      }
      return "outliers\(text)%"
    }
  }

  /// Finds a branch by its identifier; the percent sign may be left out.
  public init?(identifier: String) {
    if identifier.hasPrefix("rank") {
      guard let rank = Self.digits(identifier.dropFirst(4)), (1...Self.largestRank).contains(rank)
      else { return nil }
      self = .lowRank(rank)
      return
    }
    guard identifier.hasPrefix("outliers") else { return nil }
    var text = identifier.dropFirst(8)
    if text.hasSuffix("%") { text = text.dropLast() }
    let parts = text.split(separator: ".", omittingEmptySubsequences: false)
    guard (1...2).contains(parts.count), let whole = Self.digits(parts[0]) else { return nil }
    var points = whole * 100
    if parts.count == 2 {
      guard parts[1].count <= 2, let fraction = Self.digits(parts[1]) else { return nil }
      points += fraction * (parts[1].count == 1 ? 10 : 1)
    }
    guard (1...Self.mostBasisPoints).contains(points) else { return nil }
    self = .outliers(basisPoints: points)
  }

  private static func digits(_ text: Substring) -> Int? {
    guard (1...4).contains(text.count), text.allSatisfy({ $0.isASCII && $0.isNumber }) else {
      return nil
    }
    return Int(text)
  }

  /// Exact stored size beside weights of this shape, padding included.
  public func storedBytes(_ shape: MatrixShape) -> Int {
    switch self {
    case .lowRank(let rank):
      let factors = Self.factors(shape, rank: rank)
      return factors.right.storedBytes + factors.left.storedBytes
    case .outliers: return OutlierLayout(shape, count: outlierCount(shape)).storedBytes
    }
  }

  /// Layouts of the factors of a low-rank branch, which lie one after the other: `A`,
  /// `[rank, inputFeatures]`, and `B`, `[outputFeatures, rank]`.
  public static func factors(
    _ shape: MatrixShape, rank: Int
  ) -> (right: PackedLayout, left: PackedLayout) {
    (
      PackedLayout(
        rightFormat, MatrixShape(outputFeatures: rank, inputFeatures: shape.inputFeatures)),
      PackedLayout(
        .f16, MatrixShape(outputFeatures: shape.outputFeatures, inputFeatures: rank))
    )
  }

  /// Weights of this shape that an outlier branch holds; 0 for another branch.
  public func outlierCount(_ shape: MatrixShape) -> Int {
    guard case .outliers(let points) = self else { return 0 }
    return (shape.weightCount * points + 5000) / 10_000
  }

  /// Whether the branch makes sense beside weights of this shape: a rank below either side, at least
  /// one outlier.
  public func fits(_ shape: MatrixShape) -> Bool {
    switch self {
    case .lowRank(let rank): rank < min(shape.outputFeatures, shape.inputFeatures)
    case .outliers: outlierCount(shape) > 0
    }
  }
}

/// Where the parts of outliers in compressed rows lie, each at a multiple of 64 bytes: the first
/// entry of every row and the number of entries, 32 bits each; the column of every entry, ascending
/// in a row, 16 bits each or 32 where there are more than 65 536 input features; a bfloat16 value of
/// every entry.
public struct OutlierLayout: Hashable, Sendable {
  /// `[outputFeatures, inputFeatures]` of the operator.
  public let shape: MatrixShape
  /// Entries.
  public let count: Int

  /// Lays out `count` entries of an operator of this shape.
  public init(_ shape: MatrixShape, count: Int) {
    self.shape = shape
    self.count = count
  }

  /// Bytes of a column.
  public var columnBytes: Int { shape.inputFeatures <= 1 << 16 ? 2 : 4 }
  /// Start of the columns.
  public var columnsOffset: Int { Self.aligned(4 * (shape.outputFeatures + 1)) }
  /// Start of the values.
  public var valuesOffset: Int { columnsOffset + Self.aligned(columnBytes * count) }
  /// Everything.
  public var storedBytes: Int { valuesOffset + Self.aligned(2 * count) }

  private static func aligned(_ bytes: Int) -> Int {
    (bytes + PackedLayout.alignment - 1) / PackedLayout.alignment * PackedLayout.alignment
  }
}

extension SideBranch: Comparable {
  /// Low ranks first, then outliers, each by size.
  public static func < (lhs: Self, rhs: Self) -> Bool {
    switch (lhs, rhs) {
    case (.lowRank(let a), .lowRank(let b)): a < b
    case (.outliers(let a), .outliers(let b)): a < b
    case (.lowRank, .outliers): true
    case (.outliers, .lowRank): false
    }
  }
}

extension SideBranch: CustomStringConvertible {
  /// The identifier.
  public var description: String { identifier }
}

extension SideBranch: Codable {
  /// Decodes an identifier.
  public init(from decoder: any Decoder) throws {
    let container = try decoder.singleValueContainer()
    let identifier = try container.decode(String.self)
    guard let branch = SideBranch(identifier: identifier) else {
      throw DecodingError.dataCorruptedError(
        in: container,
        debugDescription: "unknown side branch '\(identifier)'; there are rank1 to "
          + "rank\(Self.largestRank) and outliers0.01% to outliers\(Self.mostBasisPoints / 100)%")
    }
    self = branch
  }

  /// Encodes the identifier.
  public func encode(to encoder: any Encoder) throws {
    var container = encoder.singleValueContainer()
    try container.encode(identifier)
  }
}
