import BitplanCore
import BitplanDevices
import BitplanKernels
import Testing

struct TimingTests {
  @Test("median and half the quartile distance")
  func statistics() {
    let odd = TimingStatistics([5, 1, 3, 2, 4])
    #expect(odd.median == 3 && odd.spread == 1 && odd.count == 5)
    let even = TimingStatistics([1, 2, 3, 10])
    #expect(even.median == 2.5)
    #expect(abs(even.spread - (4.75 - 1.75) / 2) < 1e-12)
    #expect(TimingStatistics([7]).spread == 0)
  }

  @Test("profile names are plain file names that tell kernels and threads")
  func names() {
    let key = DeviceProfile.Key(
      cpuModel: "Intel(R) Xeon(R) Processor @ 2.5GHz (6-85-7)", instructionSet: "avx2",
      threadCount: 3, kernelBuild: "x")
    #expect(CPUIdentity.profileName(key) == "intel-xeon-processor-2-5ghz-6-85-7-avx2-3t")
  }

  @Test("the first processor's fields are read, and odd text does no harm")
  func processorFields() {
    let text =
      "\nprocessor\t: 0\nmodel name\t: A : B\ncpu family : 6\n\nprocessor : 1\nmodel name : C\n"
    let fields = CPUIdentity.firstProcessor(text)
    #expect(fields["model name"] == "A : B" && fields["cpu family"] == "6")
    #expect(CPUIdentity.firstProcessor("no colon here\n\n").isEmpty)
  }

  @Test("a CPU is named by what the system tells")
  func cpuNames() {
    func name(_ text: String) -> String { CPUIdentity.name(CPUIdentity.firstProcessor(text)) }
    #expect(
      name("model name : Xeon\ncpu family : 6\nmodel : 85\nstepping : 7\n") == "Xeon (6-85-7)")
    #expect(name("model name : Xeon\ncpu family : 6\n") == "Xeon")
    #expect(
      name(
        "processor : 0\nFeatures : fp asimd\nCPU implementer : 0x41\nCPU architecture: 8\n"
          + "CPU variant : 0x3\nCPU part : 0xd0c\nCPU revision : 1\n")
        == "Arm CPU 0x41-0xd0c (0x3-1)")
    #expect(name("CPU implementer : 0x61\nCPU part : 0x022\n") == "Arm CPU 0x61-0x022")
    #expect(name("") == "unknown CPU")
    let key = DeviceProfile.Key(
      cpuModel: "Arm CPU 0x41-0xd0c (0x3-1)", instructionSet: "neon_dotprod", threadCount: 4,
      kernelBuild: "x")
    #expect(CPUIdentity.profileName(key) == "arm-cpu-0x41-0xd0c-0x3-1-neon_dotprod-4t")
  }

  @Test("every case is timed once, in order, with kept repeats")
  func profiler() throws {
    let context = KernelContext(
      kernels: try #require(KernelSet(.best)), pool: ThreadPool(threadCount: 1))
    let shape = MatrixShape(outputFeatures: 48, inputFeatures: 64)
    let cases = [1, 4].flatMap { batch in
      ["int4_g64", "f16"].compactMap(WeightFormat.init).map {
        CPUProfiler.Case(format: $0, shape: shape, batch: batch)
      }
    }
    var options = CPUProfiler.Options()
    options.rounds = 3
    options.maximumRounds = 4
    options.sampleSeconds = 1e-5
    var reported = 0
    let result = CPUProfiler(context: context, options: options).measure(
      cases.reversed(), workingSetBytes: 100_000
    ) { done, total in
      #expect(done < total)
      reported += 1
    }
    #expect(result.map(\.batch) == [1, 1, 4, 4])
    #expect(Set(result.map(\.format)).count == 2)
    #expect(result.allSatisfy { $0.seconds > 0 && $0.spreadSeconds >= 0 && $0.repeats >= 1 })
    #expect(reported > 0)
  }

  @Test("a request to stop ends the measurement")
  func cancellation() throws {
    struct Stop: Error {}
    let context = KernelContext(
      kernels: try #require(KernelSet(.best)), pool: ThreadPool(threadCount: 1))
    let oneCase = CPUProfiler.Case(
      format: .f16, shape: MatrixShape(outputFeatures: 16, inputFeatures: 16), batch: 1)
    #expect(throws: Stop.self) {
      try CPUProfiler(context: context).measure([oneCase], workingSetBytes: 1000) { _, _ in
        throw Stop()
      }
    }
  }
}
