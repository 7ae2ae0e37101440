/// A row-major `Float` matrix in 64-byte-aligned memory, reused across forward passes.
///
/// `@unchecked Sendable`: the memory is written by one thread at a time. A matrix that holds
/// weights is filled once, before it is shared; a matrix that holds activations belongs to one
/// forward pass, and the thread pool hands its workers disjoint parts between two barriers.
public final class FloatMatrix: @unchecked Sendable {
  /// Rows: tokens for activations, output features for weights.
  public let rows: Int
  /// Columns: features for activations, input features for weights.
  public let columns: Int
  private let allocation: Allocation
  @usableFromInline internal let base: UnsafeMutablePointer<Float>

  /// Allocates a matrix of zeros.
  public convenience init(rows: Int, columns: Int) {
    self.init(rows: rows, columns: columns, placement: .heap)
  }

  /// Allocates a matrix of zeros in a given place.
  package init(rows: Int, columns: Int, placement: MemoryPlacement) {
    precondition(rows >= 0 && columns >= 0)
    self.rows = rows
    self.columns = columns
    let count = rows * columns
    allocation = Allocation(byteCount: count * MemoryLayout<Float>.stride, placement: placement)
    base = allocation.base.bindMemory(to: Float.self, capacity: count)
  }

  /// Copies `values`, whose count must be `rows · columns`.
  public convenience init(rows: Int, columns: Int, values: [Float]) {
    precondition(values.count == rows * columns, "one value for every element")
    self.init(rows: rows, columns: columns)
    values.withUnsafeBufferPointer { source in
      if let address = source.baseAddress { base.update(from: address, count: source.count) }
    }
  }

  deinit { allocation.deallocate() }

  /// One element.
  public subscript(row: Int, column: Int) -> Float {
    get {
      precondition(row >= 0 && row < rows && column >= 0 && column < columns)
      return base[row * columns + column]
    }
    set {
      precondition(row >= 0 && row < rows && column >= 0 && column < columns)
      base[row * columns + column] = newValue
    }
  }

  /// All elements, row-major, as a copy.
  public var values: [Float] { Array(UnsafeBufferPointer(start: base, count: rows * columns)) }

  /// Calls `body` with all elements. The pointer must not leave the closure.
  @inlinable public func withUnsafeBufferPointer<Result>(
    _ body: (UnsafeBufferPointer<Float>) throws -> Result
  ) rethrows -> Result {
    try withExtendedLifetime(self) {
      try body(UnsafeBufferPointer(start: base, count: rows * columns))
    }
  }

  /// Calls `body` with all elements, writable. The pointer must not leave the closure.
  @inlinable public func withUnsafeMutableBufferPointer<Result>(
    _ body: (UnsafeMutableBufferPointer<Float>) throws -> Result
  ) rethrows -> Result {
    try withExtendedLifetime(self) {
      try body(UnsafeMutableBufferPointer(start: base, count: rows * columns))
    }
  }
}
