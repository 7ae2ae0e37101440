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

  /// Measures once more and keeps the best.
  mutating func measure(_ memory: AlignedBytes, _ pool: ThreadPool) {
    let threads = pool.threadCount
    let part = memory.count / threads / 256 * 256
    func rate(_ work: Double, _ body: @Sendable (Int) -> Void) -> Double {
      var samples = Samples()
      samples.time { pool.run(body) }
      return work / samples.best
    }
    readBytesPerSecond = max(
      readBytesPerSecond,
      rate(Double(part * threads)) { thread in
        memory.withUnsafeBytes { _ = bp_probe_read($0.baseAddress! + thread * part, part) }
      })
    let rounds: UInt64 = 400_000
    vnniPerSecond = max(
      vnniPerSecond,
      rate(Double(rounds) * 12 * 64 * Double(threads)) { _ in _ = bp_probe_vnni(rounds) })
    if InstructionSet.supported.contains(.avx512amx) {
      amxPerSecond = max(
        amxPerSecond,
        rate(Double(rounds) * 4 * 16384 / 4 * Double(threads)) { _ in _ = bp_probe_amx(rounds / 4) }
      )
    }
    floatPerSecond = max(
      floatPerSecond,
      rate(Double(rounds) * 12 * 16 * Double(threads)) { _ in _ = bp_probe_float(rounds) })
  }
}
