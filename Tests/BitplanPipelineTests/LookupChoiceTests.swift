import BitplanCore
import BitplanDevices
import BitplanKernels
import BitplanPipeline
import BitplanTestSupport
import Foundation
import Testing

/// Lookup tables or masked planes: measured once, then followed.
struct LookupChoiceTests {
  @Test(
    "a workbench follows this machine's own profile, and no other", arguments: [nil, false, true])
  func followsProfile(_ usesLookup: Bool?) throws {
    let home = FileManager.default.temporaryDirectory.appending(path: UUID().uuidString)
    defer { try? FileManager.default.removeItem(at: home) }
    let first = try Workbench(threadCount: 1, home: home)
    #expect(!first.context.kernels.usesLookup)
    func write(_ key: DeviceProfile.Key) throws {
      let profile = DeviceProfile(
        name: "here", simulated: false, key: key,
        peaks: DeviceProfile.Peaks(
          readBytesPerSecond: 1, readBytesPerSecondOneThread: 1, int8MultiplyAddsPerSecond: 1,
          float32MultiplyAddsPerSecond: 1),
        usesLookup: usesLookup, workingSetBytes: 0, measurements: [], corrections: [])
      let name = CPUIdentity.profileName(CPUIdentity.key(first.context))
      _ = try ProfileStore.write(
        profile, to: first.profilesFolder.appending(path: "\(name).json"))
    }
    let key = CPUIdentity.key(first.context)
    try write(key)
    let hasTables = first.context.kernels.withLookup != nil
    let second = try Workbench(threadCount: 1, home: home)
    #expect(second.context.kernels.usesLookup == (usesLookup == true && hasTables))
    try write(
      DeviceProfile.Key(
        cpuModel: key.cpuModel, instructionSet: key.instructionSet, threadCount: key.threadCount,
        kernelBuild: "of old"))
    #expect(try !Workbench(threadCount: 1, home: home).context.kernels.usesLookup)
  }

  @Test("nothing is measured where no case could use tables")
  func nothingToCompare() throws {
    let kernels = try #require(KernelSet(.best))
    let context = KernelContext(kernels: kernels, pool: ThreadPool(threadCount: 1))
    let choice = CPUProfiler.LookupChoice(context: context)
    let cases = ["bcq2_g128", "int4_g128"].compactMap(WeightFormat.init).map {
      CPUProfiler.Case(
        format: $0, shape: MatrixShape(outputFeatures: 32, inputFeatures: 128), batch: 1)
    }
    var isAsked = false
    #expect(choice.isFaster(for: cases, workingSetBytes: 1000) { isAsked = true } == nil)
    #expect(!isAsked)
    #expect(!choice.context(usesLookup: false).kernels.usesLookup)
    #expect(
      choice.context(usesLookup: true).kernels.usesLookup == (kernels.withLookup != nil))
  }
}
