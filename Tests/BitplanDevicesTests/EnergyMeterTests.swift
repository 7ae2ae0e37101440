import BitplanDevices
import BitplanTestSupport
import Foundation
import Testing

struct EnergyMeterTests {
  private static func write(_ text: String, _ name: String, in folder: URL) throws {
    let file = folder.appending(path: name)
    try FileManager.default.createDirectory(
      at: file.deletingLastPathComponent(), withIntermediateDirectories: true)
    try text.write(to: file, atomically: true, encoding: .utf8)
  }

  @Test("packages are added up, parts of packages are not, and a counter may start over")
  func readsPackages() throws {
    let temporary = try TemporaryFolder()
    let folder = temporary.url
    for (index, name) in ["package-0", "core", "package-1"].enumerated() {
      try Self.write("\(name)\n", "intel-rapl:\(index)/name", in: folder)
      try Self.write("1000000\n", "intel-rapl:\(index)/energy_uj", in: folder)
      try Self.write("2000000\n", "intel-rapl:\(index)/max_energy_range_uj", in: folder)
    }
    let meter = try #require(EnergyMeter(folder: folder.path))
    let start = try #require(meter.reading())
    try Self.write("1250000\n", "intel-rapl:0/energy_uj", in: folder)
    try Self.write("1900000\n", "intel-rapl:1/energy_uj", in: folder)
    try Self.write("500000\n", "intel-rapl:2/energy_uj", in: folder)
    let end = try #require(meter.reading())
    // 0.25 J of one package; 1 J to the end of the other's range and 0.5 J after it.
    #expect(abs(meter.joules(from: start, to: end) - 1.75) < 1e-9)
    try Self.write("broken", "intel-rapl:0/energy_uj", in: folder)
    #expect(meter.reading() == nil)
  }

  @Test("without readable counters there is no meter")
  func absent() throws {
    let temporary = try TemporaryFolder()
    #expect(EnergyMeter(folder: temporary.url.path) == nil)
    #expect(EnergyMeter(folder: temporary.url.appending(path: "missing").path) == nil)
    try Self.write("package-0", "intel-rapl:0/name", in: temporary.url)
    try Self.write("", "intel-rapl:0/energy_uj", in: temporary.url)
    #expect(EnergyMeter(folder: temporary.url.path) == nil)
  }
}
