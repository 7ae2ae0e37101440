import BitplanKernels

/// Splits row-wise work over the pool where that pays.
enum RowWork {
  /// Waking the pool costs a few microseconds: about this many elements of simple arithmetic.
  static let worthwhileElements = 16_384

  /// Calls `body` with ranges that cover `0..<count`, on all threads when `count` rows of
  /// `elementsPerRow` are worth it. Rows are independent, so the split changes no result.
  static func forEach(
    _ count: Int, elementsPerRow: Int, _ pool: ThreadPool, _ body: @Sendable (Range<Int>) -> Void
  ) {
    let threads = pool.threadCount
    guard threads > 1, count > 1, count * elementsPerRow >= worthwhileElements else {
      body(0..<count)
      return
    }
    pool.run { thread in
      let range = count * thread / threads..<count * (thread + 1) / threads
      if !range.isEmpty { body(range) }
    }
  }
}

extension FloatMatrix {
  /// Calls `body` with the address of the first element. The address must not leave the closure.
  @inline(__always)
  func withAddress<Result>(_ body: (Floats) -> Result) -> Result {
    withUnsafeMutableBufferPointer { body($0.baseAddress!) }
  }
}

/// Calls `body` with the addresses of two matrices, which must not leave the closure.
@inline(__always)
func withAddresses<Result>(
  _ a: FloatMatrix, _ b: FloatMatrix, _ body: (Floats, Floats) -> Result
) -> Result {
  a.withAddress { a in b.withAddress { b in body(a, b) } }
}

/// Calls `body` with the addresses of three matrices, which must not leave the closure.
@inline(__always)
func withAddresses<Result>(
  _ a: FloatMatrix, _ b: FloatMatrix, _ c: FloatMatrix, _ body: (Floats, Floats, Floats) -> Result
) -> Result {
  a.withAddress { a in withAddresses(b, c) { b, c in body(a, b, c) } }
}

/// Calls `body` with the addresses of four matrices, which must not leave the closure.
@inline(__always)
func withAddresses<Result>(
  _ a: FloatMatrix, _ b: FloatMatrix, _ c: FloatMatrix, _ d: FloatMatrix,
  _ body: (Floats, Floats, Floats, Floats) -> Result
) -> Result {
  withAddresses(a, b) { a, b in withAddresses(c, d) { c, d in body(a, b, c, d) } }
}
