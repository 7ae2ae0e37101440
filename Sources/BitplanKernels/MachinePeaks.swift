public import BitplanCore
internal import CBitplanKernels
internal import Synchronization

/// Measures what this machine can do at most: the roofline that kernels are held against
/// (Williams, Waterman, Patterson, CACM 52(4), 2009, doi:10.1145/1498765.1498785).
public enum MachinePeaks {
  /// Bytes that the memory test reads: past any cache that one tenant gets.
  public static let memoryBytes = 512 << 20

  /// Measures all ceilings with the threads of `pool`; about a second.
  ///
  /// Every figure is the best of several runs: a ceiling is what the machine can do, not what it
  /// does on average.
  ///
  /// - Parameter seconds: clock in seconds, from any origin.
  public static func measure(pool: ThreadPool, seconds: () -> Double) -> DeviceProfile.Peaks {
    let isa = bp_peak_best_isa()
    let memory = AlignedBytes(count: memoryBytes)
    memory.withUnsafeMutableBytes { _ = $0.initializeMemory(as: UInt8.self, repeating: 1) }
    let single = ThreadPool(threadCount: 1)
    return DeviceProfile.Peaks(
      readBytesPerSecond: read(memory, pool, isa, seconds),
      readBytesPerSecondOneThread: read(memory, single, isa, seconds),
      int8MultiplyAddsPerSecond: rate(pool, seconds) { iterations, done in
        Int(bp_peak_int8(iterations, isa, done))
      },
      float32MultiplyAddsPerSecond: rate(pool, seconds) { iterations, done in
        Int(bp_peak_float32(iterations, isa, done).bitPattern)
      })
  }

  private static func read(
    _ memory: AlignedBytes, _ pool: ThreadPool, _ isa: bp_peak_isa, _ seconds: () -> Double
  ) -> Double {
    let part = memory.count / pool.threadCount / 512 * 512
    let sink = Atomic<UInt64>(0)
    var best = 0.0
    for _ in 0..<5 {
      let start = seconds()
      pool.run { thread in
        memory.withUnsafeBytes { bytes in
          let sum = bp_peak_read(bytes.baseAddress! + thread * part, part, isa)
          sink.wrappingAdd(sum, ordering: .relaxed)
        }
      }
      best = max(best, Double(part * pool.threadCount) / (seconds() - start))
    }
    return best
  }

  private static func rate(
    _ pool: ThreadPool, _ seconds: () -> Double,
    _ loop: @escaping @Sendable (Int64, UnsafeMutablePointer<Int64>) -> Int
  ) -> Double {
    let sink = Atomic<Int>(0)
    let done = Atomic<Int64>(0)
    var best = 0.0
    for _ in 0..<7 {
      done.store(0, ordering: .relaxed)
      let start = seconds()
      pool.run { _ in
        var count: Int64 = 0
        sink.wrappingAdd(loop(1_000_000, &count), ordering: .relaxed)
        done.wrappingAdd(count, ordering: .relaxed)
      }
      best = max(best, Double(done.load(ordering: .relaxed)) / (seconds() - start))
    }
    return best
  }
}
