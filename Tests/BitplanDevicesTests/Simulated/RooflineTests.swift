import BitplanCore
import BitplanDevices
import BitplanTestSupport
import Foundation
import Testing

struct RooflineTests {
  static let cpu = DeviceFileTests.cpu

  @Test("decode and prefill are counted by hand, on one thread and two, from cache and memory")
  func byHand() throws {
    let format = try #require(WeightFormat(identifier: "int4_g64"))
    func seconds(_ format: WeightFormat, _ shape: MatrixShape, _ tokens: Int, _ bytes: Int)
      -> Double
    {
      Self.cpu.cost(format, shape, tokens: tokens, workingSetBytes: bytes).seconds
    }
    // 16,384 weights: one thread. 512 vectors of codes at 1 cycle, 32 vectors of scales at 4, 16
    // vectors of activations at 2, and the call's 100, at 1 GHz.
    let small = MatrixShape(outputFeatures: 128, inputFeatures: 128)
    #expect(abs(seconds(format, small, 1, 1000) - (512 + 32 * 4 + 16 * 2 + 100) * 1e-9) < 1e-18)
    // From memory, at 8 GB/s on one thread, moving takes longer than working.
    let bytes = Double(format.storedBytes(small))
    #expect(abs(seconds(format, small, 1, 1 << 21) - ((16 * 2 + 100) * 1e-9 + bytes / 8e9)) < 1e-18)
    // 1,048,576 products of 8 tokens on two threads: 131,072 cycles over 2 at half of 64 a cycle…
    let products = 128.0 * 128 * 64
    let work = products / 32 + 32 * 64 * 3 + 512 * 5
    let serial = 16.0 * 64 * 2 + 100 + 1000
    #expect(abs(seconds(format, small, 64, 1000) - (serial + work / 2) * 1e-9) < 1e-15)
    // Binary16 weights need no quantized activations.
    #expect(
      abs(seconds(.f16, small, 1, 1000) - (100 * 1e-9 + max(1024 * 2e-9, 32768 / 2e10))) < 1e-18)
    #expect(
      abs(seconds(.f16, small, 64, 1000) - (1100 + products / 8 / 2) * 1e-9) < 1e-15)
  }

  @Test("a known CPU is found again from its own times, also for shapes that were left out")
  func calibrationFindsItself() throws {
    let device = SimulatedDevice(
      name: "known", summary: "a CPU", source: "made up", cpu: Self.cpu)
    let shapes = [(64, 128), (256, 256), (768, 256), (256, 768), (1024, 512), (2048, 1024)].map {
      MatrixShape(outputFeatures: $0, inputFeatures: $1)
    }
    let profiles = try [500_000, 8_000_000].map {
      try device.profile(
        shapes: shapes, formats: WeightFormat.all, batches: [1, 128], workingSetBytes: $0)
    }
    let machine = RooflineCalibration.Machine(
      clockHertz: 1e9, vectorBits: 256, caches: [.init(name: "L2", capacityBytes: 1 << 20)])
    let calibration = try #require(RooflineCalibration(machine: machine, profiles: profiles))
    for batch in [1, 128] {
      #expect(try #require(calibration.medianError(batch: batch, heldOut: false)) < 0.05)
      #expect(try #require(calibration.medianError(batch: batch, heldOut: true)) < 0.10)
    }
    #expect(calibration.comparisons.count == 2 * shapes.count * WeightFormat.all.count * 2)
    // The same input gives the same CPU.
    #expect(RooflineCalibration(machine: machine, profiles: profiles)?.cpu == calibration.cpu)
    #expect(RooflineCalibration(machine: machine, profiles: []) == nil)
  }

  @Test("caches are those that the threads have, and odd files do no harm")
  func caches() throws {
    let temporary = try TemporaryFolder()
    func write(_ index: Int, _ fields: [String: String]) throws {
      let folder = temporary.url.appending(path: "cpu0/cache/index\(index)")
      try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
      for (name, text) in fields {
        try text.write(to: folder.appending(path: name), atomically: true, encoding: .utf8)
      }
    }
    try write(0, ["level": "1\n", "type": "Data\n", "size": "48K\n", "shared_cpu_list": "0\n"])
    try write(
      2, ["level": "2\n", "type": "Unified", "size": "2048K\n", "shared_cpu_list": "0-1\n"])
    try write(
      3, ["level": "3\n", "type": "Unified", "size": "32M\n", "shared_cpu_list": "0-7,9\n"])
    try write(4, ["level": "4\n", "type": "Unified", "size": "99999999999999999999K"])
    func caches(_ threads: Int) -> [RooflineCalibration.Machine.Cache] {
      RooflineCalibration.Machine.caches(threadCount: threads, folder: temporary.url.path)
    }
    #expect(
      caches(4) == [
        .init(name: "L2", capacityBytes: 4 << 20), .init(name: "L3", capacityBytes: 32 << 20),
      ])
    #expect(caches(1)[0].capacityBytes == 2 << 20)
    #expect(RooflineCalibration.Machine.caches(threadCount: 1, folder: "missing").isEmpty)
  }
}
