public import BitplanKernels
internal import Foundation

extension RooflineCalibration.Machine {
  /// This machine as far as the system tells: clock, vector width of `instructionSet`, and the caches
  /// that `threadCount` threads have, each on a core of its own.
  ///
  /// Where the clock is not told it is taken as 1 GHz, so that a cycle is a nanosecond.
  public static func current(
    instructionSet: InstructionSet, threadCount: Int,
    cacheFolder: String = "/sys/devices/system/cpu"
  ) -> Self {
    let text = (try? String(contentsOfFile: "/proc/cpuinfo", encoding: .utf8)) ?? ""
    let megahertz = CPUIdentity.firstProcessor(text)["cpu MHz"].flatMap(Double.init) ?? 1000
    let vectorBits =
      switch instructionSet {
      case .scalar: 64
      case .avx2: 256
      default: 512
      }
    return Self(
      clockHertz: megahertz > 0 ? megahertz * 1e6 : 1e9, vectorBits: vectorBits,
      caches: caches(threadCount: threadCount, folder: cacheFolder))
  }

  /// Data caches from level 2 outwards, as Linux lists them; level 1 is smaller than any model.
  package static func caches(threadCount: Int, folder: String) -> [Cache] {
    var caches: [Cache] = []
    for index in 0..<8 {
      let path = "\(folder)/cpu0/cache/index\(index)"
      func field(_ name: String) -> String? {
        (try? String(contentsOfFile: "\(path)/\(name)", encoding: .utf8))?
          .trimmingCharacters(in: .whitespacesAndNewlines)
      }
      guard let level = field("level").flatMap(Int.init), level >= 2,
        field("type") != "Instruction", let bytes = field("size").flatMap(bytes)
      else { continue }
      let sharers = max(1, field("shared_cpu_list").map(processorCount) ?? 1)
      let capacity = bytes * max(1, threadCount.dividedUp(by: sharers))
      if capacity > caches.last?.capacityBytes ?? 0 {
        caches.append(Cache(name: "L\(level)", capacityBytes: capacity))
      }
    }
    return caches
  }

  /// `2048K` and the like.
  private static func bytes(_ text: String) -> Int? {
    let units: [Character: Int] = ["K": 1 << 10, "M": 1 << 20, "G": 1 << 30]
    if let last = text.last, let unit = units[last] {
      return Int(text.dropLast()).flatMap { (1...1 << 20).contains($0) ? $0 * unit : nil }
    }
    return Int(text)
  }

  /// Processors in a list such as `0-3,8`.
  private static func processorCount(_ list: String) -> Int {
    list.split(separator: ",").reduce(0) { sum, part in
      let ends = part.split(separator: "-").compactMap { Int($0) }
      return sum + (ends.count == 2 ? max(0, min(ends[1] - ends[0], 1 << 16)) + 1 : ends.count)
    }
  }
}
