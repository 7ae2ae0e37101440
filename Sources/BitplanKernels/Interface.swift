// INTERFACE STUB: to be replaced by one file per type. Signatures are the contract.
public import BitplanCore

/// What a kernel set requires of the CPU.
public enum InstructionSet: String, CaseIterable, Hashable, Sendable, Codable {
  case scalar, avx2, avx512vnni
  /// Instruction sets that this binary contains and this CPU and operating system can run, slowest first.
  public static var supported: [InstructionSet] { [.scalar] }
  /// The fastest supported one.
  public static var best: InstructionSet { supported.last! }
}

public enum KernelError: Error, Hashable, Sendable { case shapeMismatch(String), unsupported(String) }

/// The CPU kernels of one instruction set.
public struct KernelSet: Sendable {
  public let instructionSet: InstructionSet
  /// Identifies the kernels' arithmetic and layout; part of every profile's key.
  public static let build = "1"
  public init?(_ instructionSet: InstructionSet) { self.instructionSet = instructionSet }
}

/// A fixed set of threads that run the same body and meet at the end.
public final class ThreadPool: Sendable {
  public let threadCount: Int
  public init(threadCount: Int) { self.threadCount = threadCount }
  /// Runs `body(0)` … `body(threadCount − 1)` at once; returns when all have returned.
  public func run(_ body: @Sendable (Int) -> Void) { for i in 0..<threadCount { body(i) } }
}

/// 64-byte-aligned bytes.
public final class AlignedBytes: ByteRegion, @unchecked Sendable {
  public let count: Int
  public init(count: Int) { self.count = count; fatalError() }
  public func withUnsafeBytes<Result>(_ body: (UnsafeRawBufferPointer) throws -> Result) rethrows -> Result { fatalError() }
  public func withUnsafeMutableBytes<Result>(_ body: (UnsafeMutableRawBufferPointer) throws -> Result) rethrows -> Result { fatalError() }
}

/// One segment's weights in the layout that kernels read (see `PackedLayout`).
public struct PackedMatrix: Sendable {
  public let layout: PackedLayout
  public let bytes: ByteSlice
  public var format: WeightFormat { layout.format }
  public var shape: MatrixShape { layout.shape }
  /// Takes packed bytes where they lie; throws if their count is not `layout.storedBytes`.
  public init(_ layout: PackedLayout, bytes: ByteSlice) throws(KernelError) { self.layout = layout; self.bytes = bytes }
  /// Packs codes.
  public init(packing weights: QuantizedWeights) { fatalError() }
  /// The codes again, row-major.
  public func unpacked() -> QuantizedWeights { fatalError() }
}

/// All segments of one operator: multiplied in one call, outputs written where they belong.
public struct PackedOperator: Sendable {
  public struct Segment: Sendable {
    public let matrix: PackedMatrix
    /// Output feature of every packed row; `nil` when rows are in place.
    public let rowMap: [UInt32]?
  }
  public let shape: MatrixShape
  public let segments: [Segment]
  /// One segment, rows in place.
  public init(_ matrix: PackedMatrix) { fatalError() }
  /// Several segments; throws unless `rows` cover every output feature exactly once.
  public init(shape: MatrixShape, segments: [(matrix: PackedMatrix, rows: [Range<Int>])]) throws(KernelError) { fatalError() }
  /// Writes the dequantized rows `indices` to the first `indices.count` rows of `output` (embedding lookup).
  public func lookUp(_ indices: [Int], into output: FloatMatrix) { fatalError() }
  /// All weights, dequantized, row-major `[outputFeatures, inputFeatures]`.
  public func dequantized() -> FloatMatrix { fatalError() }
}

/// Activations of up to `capacity` tokens and their 8-bit forms, quantized at most once per group size.
public final class Activations {
  /// `[capacity, inputFeatures]`; write the first `tokenCount` rows, then call `didChange(tokenCount:)`.
  public let values: FloatMatrix
  public private(set) var tokenCount: Int
  public init(capacity: Int, inputFeatures: Int) { values = FloatMatrix(rows: capacity, columns: inputFeatures); tokenCount = 0 }
  /// Forgets quantized forms: `values` were rewritten.
  public func didChange(tokenCount: Int) { self.tokenCount = tokenCount }
  /// The values that kernels actually multiply by when quantized at `groupSize`: dequantized `[tokenCount, inputFeatures]`.
  public func dequantized(groupSize: Int, _ context: KernelContext) -> FloatMatrix { fatalError() }
}

/// Kernels and threads: what a multiplication needs besides its operands.
public final class KernelContext: Sendable {
  public let kernels: KernelSet
  public let pool: ThreadPool
  public init(kernels: KernelSet, pool: ThreadPool) { self.kernels = kernels; self.pool = pool }
  /// `y = W · x` for every token: writes the first `x.tokenCount` rows of `y` `[capacity, outputFeatures]`.
  public func multiply(_ weights: PackedOperator, _ x: Activations, into y: FloatMatrix) { fatalError() }
}
