public import BitplanCore

/// Bytes whose first one lies at a multiple of 64.
///
/// `@unchecked Sendable`: filled by one owner before it is shared; read-only afterwards.
public final class AlignedBytes: ByteRegion, @unchecked Sendable {
  /// Size in bytes.
  public let count: Int
  private let allocation: Allocation
  private var base: UnsafeMutableRawPointer { allocation.base }

  /// Allocates `count` zero bytes.
  public convenience init(count: Int) { self.init(count: count, placement: .heap) }

  /// Allocates `count` zero bytes in a given place, which need not be aligned.
  package init(count: Int, placement: MemoryPlacement) {
    precondition(count >= 0, "a size is not negative")
    self.count = count
    allocation = Allocation(byteCount: count, placement: placement)
  }

  /// Where the bytes are while the object lives.
  internal var address: UnsafeMutableRawPointer { allocation.base }

  deinit { allocation.deallocate() }

  /// Calls `body` with the bytes. The pointer must not leave the closure.
  public func withUnsafeBytes<Result>(
    _ body: (UnsafeRawBufferPointer) throws -> Result
  ) rethrows -> Result {
    try body(UnsafeRawBufferPointer(start: base, count: count))
  }

  /// Calls `body` with the bytes, writable. The pointer must not leave the closure.
  public func withUnsafeMutableBytes<Result>(
    _ body: (UnsafeMutableRawBufferPointer) throws -> Result
  ) rethrows -> Result {
    try body(UnsafeMutableRawBufferPointer(start: base, count: count))
  }
}
