/// Bytes that something keeps alive: a mapped file or an allocation.
///
/// It lets kernels read weights where they lie, without knowing who owns them.
public protocol ByteRegion: AnyObject, Sendable {
  /// Size in bytes.
  var count: Int { get }
  /// Calls `body` with the bytes, whose address is the same as long as the region lives. Only who keeps
  /// the region alive may let the pointer leave the closure.
  func withUnsafeBytes<Result>(_ body: (UnsafeRawBufferPointer) throws -> Result) rethrows -> Result
}

/// A part of a ``ByteRegion``.
public struct ByteSlice: Sendable {
  /// The region that holds the bytes.
  public let region: any ByteRegion
  /// Byte offsets inside ``region``.
  public let range: Range<Int>

  /// `range` must lie inside `region`.
  public init(region: any ByteRegion, range: Range<Int>) {
    precondition(range.lowerBound >= 0 && range.upperBound <= region.count, "slice out of region")
    self.region = region
    self.range = range
  }

  /// Size in bytes.
  public var count: Int { range.count }

  /// Calls `body` with the bytes of this slice. The pointer must not leave the closure.
  public func withUnsafeBytes<Result>(
    _ body: (UnsafeRawBufferPointer) throws -> Result
  ) rethrows -> Result {
    try region.withUnsafeBytes { try body(UnsafeRawBufferPointer(rebasing: $0[range])) }
  }
}
