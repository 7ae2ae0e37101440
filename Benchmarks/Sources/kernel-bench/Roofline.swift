import BitplanCore
import BitplanKernels
import CRoofline

/// The ceilings of this CPU at one thread count.
struct Roofline {
  /// Bytes a second read from memory, in runs through much more than the last-level cache.
  var readBytesPerSecond = 0.0
  /// 8-bit multiply-adds a second by 512-bit vpdpbusd.
  var vnniPerSecond = 0.0
  /// 8-bit multiply-adds a second by AMX tiles; 0 where there are none.
  var amxPerSecond = 0.0
  /// Single-precision multiply-adds a second.
  var floatPerSecond = 0.0

  /// Reads `bytes` a thread, a multiple of 256, from a place that is one too.
  ///
  /// - Returns: bytes a second of all threads.
  static func read(
    _ memory: AlignedBytes, from start: Int, bytes: Int, _ pool: ThreadPool
  ) -> Double {
    rate(Double(bytes), pool) { thread in
      memory.withUnsafeBytes { _ = bp_probe_read($0.baseAddress! + start + thread * bytes, bytes) }
    }
  }

  /// Multiply-adds a second by vpdpbusd, or in single precision, in a run of about so many seconds.
  static func peak(isFloat: Bool, _ seconds: Double, _ pool: ThreadPool) -> Double {
    let perRound = isFloat ? 12.0 * 16 : 12.0 * 64
    // A first guess of what a core does; any number of rounds measures the same rate.
    let rounds = UInt64(max(10_000, seconds * (isFloat ? 60e9 : 240e9) / perRound))
    return peak(isFloat: isFloat, rounds: rounds, pool)
  }

  private static func peak(isFloat: Bool, rounds: UInt64, _ pool: ThreadPool) -> Double {
    rate(Double(rounds) * (isFloat ? 12 * 16 : 12 * 64), pool) { _ in
      _ = isFloat ? bp_probe_float(rounds) : bp_probe_vnni(rounds)
    }
  }

  /// What all threads do in a second, when every one does `work` once.
  private static func rate(
    _ work: Double, _ pool: ThreadPool, _ body: @Sendable (Int) -> Void
  ) -> Double {
    var samples = Samples()
    samples.time { pool.run(body) }
    return work * Double(pool.threadCount) / samples.best
  }

  /// Measures once more and keeps the best.
  mutating func measure(_ memory: AlignedBytes, _ pool: ThreadPool) {
    let part = memory.count / pool.threadCount / 256 * 256
    readBytesPerSecond = max(
      readBytesPerSecond, Self.read(memory, from: 0, bytes: part, pool))
    let rounds: UInt64 = 400_000
    vnniPerSecond = max(vnniPerSecond, Self.peak(isFloat: false, rounds: rounds, pool))
    if InstructionSet.supported.contains(.avx512amx) {
      amxPerSecond = max(
        amxPerSecond,
        Self.rate(Double(rounds) * 4 * 16384 / 4, pool) { _ in _ = bp_probe_amx(rounds / 4) })
    }
    floatPerSecond = max(floatPerSecond, Self.peak(isFloat: true, rounds: rounds, pool))
  }
}
