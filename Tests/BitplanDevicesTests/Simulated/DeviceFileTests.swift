import BitplanCore
import BitplanDevices
import Foundation
import Testing

struct DeviceFileTests {
  static let folder = URL(filePath: #filePath).deletingLastPathComponent()
    .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
    .appending(path: "Sources/BitplanDevices/Simulated/Devices")

  @Test("every device file is part of the program, valid, and named as its file")
  func allFilesAreBuiltIn() throws {
    let names = try FileManager.default.contentsOfDirectory(atPath: Self.folder.path)
      .filter { $0.hasSuffix(".json") }.map { String($0.dropLast(5)) }
    #expect(Set(names) == Set(DeviceCatalog.devices.keys))
    for name in names {
      let device = try #require(DeviceCatalog.device(name))
      try device.validate()
      let file = try Data(contentsOf: Self.folder.appending(path: "\(name).json"))
      #expect(try JSONDecoder().decode(SimulatedDevice.self, from: file) == device)
    }
    for (alias, name) in DeviceCatalog.aliases {
      #expect(DeviceCatalog.device(alias)?.name == name)
    }
  }

  @Test("damaged devices are refused with the place")
  func refusesDamage() throws {
    var device = try #require(DeviceCatalog.device("mixpe"))
    func problem(_ change: (inout SimulatedDevice) -> Void) -> String? {
      var damaged = device
      change(&damaged)
      do {
        try damaged.validate()
        return nil
      } catch {
        return error.path
      }
    }
    #expect(problem { _ in } == nil)
    #expect(problem { $0.schemaVersion = 2 } == "schemaVersion")
    #expect(problem { $0.name = "../evil" } == "name")
    #expect(problem { $0.name = "" } == "name")
    #expect(problem { $0.systolicArray = nil } == "systolicArray")
    #expect(problem { $0.systolicArray?.rows = 0 } == "systolicArray.rows")
    #expect(problem { $0.systolicArray?.columns = 1 << 40 } == "systolicArray.columns")
    #expect(problem { $0.systolicArray?.scaleUnits = -1 } == "systolicArray.scaleUnits")
    #expect(problem { $0.systolicArray?.clockHertz = .infinity } == "systolicArray.clockHertz")
    #expect(
      problem { $0.systolicArray?.smallestWeightBits = 9 } == "systolicArray.smallestWeightBits")
    #expect(
      problem { $0.systolicArray?.energy.scalePicojoules = -.leastNonzeroMagnitude }
        == "systolicArray.energy.scalePicojoules")
    device.cpu = Self.cpu
    #expect(problem { _ in } == "systolicArray")
    device.systolicArray = nil
    #expect(problem { _ in } == nil)
    #expect(problem { $0.cpu?.levels.removeAll() } == "cpu.levels.count")
    #expect(problem { $0.cpu?.levels[0].capacityBytes = nil } == "cpu.levels[0].capacityBytes")
    #expect(problem { $0.cpu?.levels.removeLast() } == "cpu.levels[0].capacityBytes")
    #expect(
      problem { $0.cpu?.work.decodeCyclesPerVector = [1] } == "cpu.work.decodeCyclesPerVector")
    #expect(problem { $0.cpu?.work.int8Efficiency = 0 } == "cpu.work.int8Efficiency")
    #expect(problem { $0.cpu?.activeWatts = 0 } == "cpu.activeWatts")
  }

  static let cpu = RooflineCPU(
    threads: 2, clockHertz: 1e9, vectorBits: 256, int8MultiplyAddsPerCycle: 64,
    float32MultiplyAddsPerCycle: 16,
    levels: [
      .init(
        name: "L2", capacityBytes: 1 << 20, readBytesPerSecond: 4e10,
        readBytesPerSecondOneThread: 2e10),
      .init(
        name: "memory", capacityBytes: nil, readBytesPerSecond: 1e10,
        readBytesPerSecondOneThread: 8e9),
    ],
    work: .init(
      callCycles: 100, handOverCycles: 1000, quantizeCyclesPerVector: 2,
      decodeCyclesPerVector: [1, 2, 1, 2, 2, 1], float16CyclesPerVector: 2, groupCyclesPerVector: 4,
      groupCyclesPerVectorPrefill: 3, expandCyclesPerVector: 5, int8Efficiency: 0.5,
      float32Efficiency: 0.5))

  @Test("a profile of a device has every case once and is valid and marked as simulated")
  func profileIsComplete() throws {
    let shapes = [
      MatrixShape(outputFeatures: 128, inputFeatures: 256),
      MatrixShape(outputFeatures: 100, inputFeatures: 77),
    ]
    for device in DeviceCatalog.devices.values {
      let profile = try device.profile(
        shapes: shapes + shapes, formats: WeightFormat.candidates, batches: [128, 1],
        workingSetBytes: 1_000_000)
      try profile.validate()
      #expect(profile.simulated)
      #expect(profile.measurements.count == 2 * WeightFormat.candidates.count * 2)
      let joules = profile.measurements.allSatisfy { $0.joules != nil }
      #expect(joules == (device.systolicArray != nil || device.cpu?.activeWatts != nil))
    }
  }

  @Test("the simulated profiles that are shipped are what the devices give today")
  func shippedProfilesAreCurrent() throws {
    let folder = Self.folder.deletingLastPathComponent().deletingLastPathComponent()
      .deletingLastPathComponent().deletingLastPathComponent().appending(path: "Profiles")
    let names = try FileManager.default.contentsOfDirectory(atPath: folder.path)
      .filter { $0.hasPrefix("sim-") && $0.hasSuffix(".json") }
    #expect(names.count == DeviceCatalog.devices.count)
    for name in names {
      let shipped = try JSONDecoder().decode(
        DeviceProfile.self, from: Data(contentsOf: folder.appending(path: name)))
      try shipped.validate()
      let device = try #require(DeviceCatalog.device(String(name.dropFirst(4).dropLast(5))))
      let again = try device.profile(
        shapes: shipped.measurements.map(\.shape), formats: WeightFormat.candidates,
        batches: [1, 128],
        workingSetBytes: shipped.workingSetBytes)
      #expect(again == shipped, "\(name)")
    }
  }
}
