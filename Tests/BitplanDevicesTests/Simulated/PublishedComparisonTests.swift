import BitplanDevices
import Testing

/// The published table (results/mixpe_res.csv of the published simulator), to its two decimals.
struct PublishedComparisonTests {
  typealias Network = PublishedComparison.Network
  typealias Design = PublishedComparison.Design

  static let table = try? PublishedComparison(.asPublished, devices: DeviceCatalog.devices)

  // In the order of `Design.allCases`: MixPE-W4A8, ANT, BitFusion, INT8, MixPE-W4A16, FP16.
  static let time: [Network: [Double]] = [
    .vit: [0.15, 0.61, 0.70, 0.82, 0.53, 1.00], .vitHuge: [0.12, 0.47, 0.67, 0.82, 0.32, 1.00],
    .opt: [0.10, 0.40, 0.68, 0.86, 0.19, 1.00], .llama: [0.10, 0.40, 0.68, 0.86, 0.19, 1.00],
  ]
  static let staticEnergy: [Network: [Double]] = [
    .vit: [0.04, 0.15, 0.17, 0.20, 0.13, 0.24], .vitHuge: [0.03, 0.11, 0.15, 0.19, 0.07, 0.23],
    .opt: [0.02, 0.09, 0.15, 0.19, 0.04, 0.22], .llama: [0.02, 0.09, 0.15, 0.19, 0.04, 0.22],
  ]
  static let memoryEnergy: [Network: [Double]] = [
    .vit: [0.02, 0.03, 0.04, 0.05, 0.05, 0.07], .vitHuge: [0.01, 0.03, 0.03, 0.07, 0.03, 0.12],
    .opt: [0.01, 0.03, 0.03, 0.05, 0.02, 0.13], .llama: [0.01, 0.03, 0.03, 0.06, 0.02, 0.13],
  ]
  static let bufferEnergy: [Network: [Double]] = [
    .vit: [0.09, 0.10, 0.12, 0.12, 0.17, 0.23], .vitHuge: [0.06, 0.08, 0.11, 0.11, 0.12, 0.23],
    .opt: [0.05, 0.07, 0.11, 0.11, 0.10, 0.23], .llama: [0.05, 0.07, 0.11, 0.12, 0.10, 0.23],
  ]
  static let coreEnergy: [Network: [Double]] = [
    .vit: [0.11, 0.11, 0.15, 0.14, 0.18, 0.46], .vitHuge: [0.08, 0.08, 0.14, 0.13, 0.10, 0.43],
    .opt: [0.06, 0.06, 0.14, 0.14, 0.06, 0.42], .llama: [0.06, 0.06, 0.14, 0.14, 0.06, 0.42],
  ]

  @Test(
    "as published, every time and energy has the published two decimals",
    arguments: Network.allCases)
  func reproducesTable(_ network: Network) throws {
    let table = try #require(Self.table)
    let columns: [(String, [Network: [Double]], (PublishedComparison.Entry) -> Double)] = [
      ("time", Self.time, { $0.relativeTime }),
      ("static", Self.staticEnergy, { $0.relativeEnergy.staticJoules }),
      ("DRAM", Self.memoryEnergy, { $0.relativeEnergy.memoryJoules }),
      ("buffer", Self.bufferEnergy, { $0.relativeEnergy.bufferJoules }),
      ("core", Self.coreEnergy, { $0.relativeEnergy.coreJoules }),
    ]
    for (name, published, value) in columns {
      for (design, expected) in zip(Design.allCases, try #require(published[network])) {
        let actual = value(try #require(table[design, network]))
        #expect((actual * 100).rounded() / 100 == expected, "\(name) of \(design): \(actual)")
      }
    }
  }

  @Test("as published, an OPT layer has the cycles of the closed form")
  func closedForm() throws {
    let array = try #require(DeviceCatalog.device("fp16")?.systolicArray)
    let model = try #require(PublishedModel(array, batch: 64))
    let result = model.result(PublishedModel.Layer(4096, 4096, bits: 16))
    // ceil(64 / 32) · ceil(4096 / 28) · 4096 when outputs are one tile; stalls come on top.
    #expect(result.cycles - result.stallCycles >= 2 * 147 * 4096)
    #expect(result.cycles - result.stallCycles <= 2 * 147 * 4096 * 101 / 100)
  }

  @Test("corrected, four times the elements give about four times the speed, not eight to nine")
  func correctedHeadline() throws {
    let published = try #require(Self.table)
    let corrected = try PublishedComparison(.corrected, devices: DeviceCatalog.devices)
    // Fill, drain and a DRAM that both share can only take from the four times.
    let (before, after) = (
      published.gain(of: .mixPEW4A8, over: .int8).time,
      corrected.gain(of: .mixPEW4A8, over: .int8).time
    )
    #expect(after > 1 && after < 4)
    #expect(before > 7 && before > 1.75 * after)
  }
}
