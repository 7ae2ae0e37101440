internal import BitplanCore
public import BitplanKernels

extension CPUProfiler {
  /// Lookup tables or masked planes for one token of one-bit binary coding: both give the same bits,
  /// and which takes less time depends on the CPU, so it is measured.
  public struct LookupChoice {
    private let planes: KernelContext
    private let tables: KernelContext?

    /// The choice between `context`'s kernels with lookup tables and without.
    public init(context: KernelContext) {
      let kernels = context.kernels
      planes = KernelContext(kernels: kernels.withoutLookup, pool: context.pool)
      tables = kernels.withLookup.map { KernelContext(kernels: $0, pool: context.pool) }
    }

    /// The kernels of a choice; masked planes where this CPU has no tables.
    public func context(usesLookup: Bool) -> KernelContext {
      usesLookup ? tables ?? planes : planes
    }

    /// Whether tables take less time for all of `cases` that they could serve together; `nil` where
    /// there is no such case, or this CPU has no tables.
    ///
    /// - Parameter check: called between timings and may throw to cancel.
    public func isFaster(
      for cases: [Case], workingSetBytes: Int, check: () throws -> Void
    ) rethrows -> Bool? {
      let served = cases.filter {
        $0.batch == 1 && $0.format.coding == .binary && $0.format.bitWidth == 1
      }
      guard let tables, !served.isEmpty else { return nil }
      let seconds = try [planes, tables].map { context in
        try CPUProfiler(context: context)
          .measure(served, workingSetBytes: workingSetBytes) { _, _ in try check() }
          .reduce(0) { $0 + $1.seconds }
      }
      return seconds[1] < seconds[0]
    }
  }
}
