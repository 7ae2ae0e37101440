public import BitplanCore

/// Bytes whose first one lies at a multiple of 64.
///
/// `@unchecked Sendable`: filled by one owner before it is shared; read-only afterwards.
public final class AlignedBytes: ByteRegion, @unchecked Sendable {
  /// Size in bytes.
  public let count: Int
  private let base: UnsafeMutableRawPointer

  /// Allocates `count` zero bytes.
  public init(count: Int) {
    precondition(count >= 0, "a size is not negative")
    self.count = count
    base = UnsafeMutableRawPointer.allocate(byteCount: max(64, count), alignment: 64)
    base.initializeMemory(as: UInt8.self, repeating: 0, count: max(64, count))
  }

  deinit { base.deallocate() }

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
