internal import BitplanCore
public import BitplanKernels

/// Times some cases of a profile again, a sample at a time, in turn with whatever they are compared
/// with: a machine that is shared, or changes its clock, does the same to both.
public final class CaseTimer {
  private let timed: [(item: CPUProfiler.Case, operation: TimedOperator, loops: Int)]
  private let reader: TimedOperator?

  /// Makes the operators ready; each is timed as ``CPUProfiler`` times it.
  ///
  /// - Parameter workingSetBytes: packed bytes to cycle through, as when the profile was made.
  public init(_ cases: Set<CPUProfiler.Case>, workingSetBytes: Int, context: KernelContext) {
    let sorted = cases.sorted(by: CPUProfiler.precedes)
    let sampleSeconds = CPUProfiler.Options().sampleSeconds
    let readers = sorted.prefix(1).map {
      CPUProfiler.Case(format: $0.format, shape: $0.shape, batch: 1)
    }
    let operators = TimedOperator.operators(
      sorted + readers, workingSetBytes: workingSetBytes, context: context)
    timed = zip(sorted, operators).map { ($0, $1, $1.loops(for: sampleSeconds)) }
    reader = operators.last
  }

  /// Seconds of some of the cases now.
  public func sample(_ cases: Set<CPUProfiler.Case>) -> [CPUProfiler.Case: Double] {
    let wanted = timed.filter { cases.contains($0.item) }
    // What ran in between may have pushed the packed bytes out of the caches that hold them in use.
    reader?.readAll()
    return Dictionary(
      uniqueKeysWithValues: wanted.map {
        ($0.item, $0.operation.secondsPerCall(loops: $0.loops))
      })
  }
}
