internal import Foundation

/// Joules that the CPU packages use, as the system counts them (RAPL by Linux's powercap).
///
/// The counter is the whole package's: cores that idle and other programs count too, which is why
/// it is read only around work that keeps this program's threads busy. Where the counter is
/// missing or may not be read, there is no meter: energy is then unknown, not zero.
public struct EnergyMeter: Sendable {
  private struct Domain: Sendable {
    let counter: String
    let rangeMicrojoules: UInt64
  }

  /// The counters at one moment.
  public struct Reading: Hashable, Sendable {
    fileprivate let microjoules: [UInt64]
  }

  private let domains: [Domain]

  /// Opens the counters under `folder`, or `nil` where none can be read.
  public init?(folder: String = "/sys/class/powercap") {
    let names = (try? FileManager.default.contentsOfDirectory(atPath: folder)) ?? []
    var domains: [Domain] = []
    for entry in names.sorted() {
      let path = "\(folder)/\(entry)"
      // Sub-domains (cores, DRAM) are parts of a package, or overlap with one.
      guard Self.text("\(path)/name")?.hasPrefix("package") == true,
        Self.number("\(path)/energy_uj") != nil,
        let range = Self.number("\(path)/max_energy_range_uj"), range > 0
      else { continue }
      domains.append(Domain(counter: "\(path)/energy_uj", rangeMicrojoules: range))
    }
    guard !domains.isEmpty else { return nil }
    self.domains = domains
  }

  /// The counters now, or `nil` where one can no longer be read.
  public func reading() -> Reading? {
    var microjoules: [UInt64] = []
    for domain in domains {
      guard let value = Self.number(domain.counter) else { return nil }
      microjoules.append(value)
    }
    return Reading(microjoules: microjoules)
  }

  /// Joules from one reading to a later one. Counters that started over once are understood.
  public func joules(from start: Reading, to end: Reading) -> Double {
    var sum = 0.0
    for (index, domain) in domains.enumerated() {
      let (before, after) = (start.microjoules[index], end.microjoules[index])
      let used =
        after >= before
        ? after - before
        : after &+ (domain.rangeMicrojoules >= before ? domain.rangeMicrojoules - before : 0)
      sum += Double(used) * 1e-6
    }
    return sum
  }

  private static func text(_ path: String) -> String? {
    (try? String(contentsOfFile: path, encoding: .utf8))?
      .trimmingCharacters(in: .whitespacesAndNewlines)
  }

  private static func number(_ path: String) -> UInt64? { text(path).flatMap(UInt64.init) }
}
