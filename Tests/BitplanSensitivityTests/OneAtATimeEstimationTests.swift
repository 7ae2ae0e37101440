import BitplanCheckpoint
import BitplanCore
import BitplanEngine
import BitplanKernels
import BitplanQuantizers
import BitplanSensitivity
import BitplanTestSupport
import Foundation
import Testing

/// Methods that measure operators one at a time, and OHQ's masks, against what they stand for.
struct OneAtATimeEstimationTests {
  static let formats = ["int3_g32", "int4_g64", "int4_g32"].compactMap(WeightFormat.init)

  struct Bench {
    let model: Model
    let context: KernelContext
    let windows: [[Int]]
    let meter: LossMeter
    let variants: VariantStore

    init() throws {
      let folder = Fixtures.folder.appending(path: "golden/tiny-llama")
      model = try Model.load(Checkpoint(path: folder.path))
      let kernels = try #require(KernelSet(.scalar))
      context = KernelContext(kernels: kernels, pool: ThreadPool(threadCount: 1))
      var generator = SeededGenerator(state: 5)
      let vocabulary = model.vocabularySize
      windows = (0..<3).map { _ in
        (0..<24).map { _ in Int.random(in: 0..<vocabulary, using: &generator) }
      }
      meter = LossMeter(model: model, windows: windows, context: context)
      let statistics = try meter.prepare { _, _ in }
      variants = VariantStore(
        model: model, statistics: statistics,
        quantizer: OperatorQuantizer(.roundToNearest, pool: context.pool))
    }

    func estimate(everyFormat: Bool) throws -> (rows: [SensitivityTable.Row], steps: [Int]) {
      let estimation = OneAtATimeEstimation(
        model: model, formats: OneAtATimeEstimationTests.formats, probesEveryFormat: everyFormat,
        variants: variants, report: meter.report)
      var steps: [Int] = []
      let rows = try estimation.run(tokens: windows.flatMap { $0 }, journal: nil) {
        steps.append($0)
      }.rows
      #expect(steps == Array(0..<estimation.stepCount))
      return (rows, steps)
    }
  }

  @Test("a swap's value is the KL divergence of the model with that one operator quantized")
  func swap() throws {
    let bench = try Bench()
    let rows = try bench.estimate(everyFormat: true).rows
    let evaluation = try LanguageModelEvaluation(windows: bench.windows)
    let reference = try evaluation.reference(of: bench.model, bench.context)
    for (index, format) in [(1, 0), (7, 1), (bench.model.operators.count - 1, 2)] {
      let packed = bench.variants.variant(index, Self.formats[format])
      let divergence = try evaluation.divergence(
        of: bench.model.replacing(index, with: .packed(packed)), from: reference, bench.context)
      #expect(rows[index].entries[format].value == divergence.klDivergence.mean)
      #expect(
        rows[index].entries[format].standardError
          == divergence.klDivergence.standardErrorOverWindows)
    }
    #expect(rows.allSatisfy { $0.entries.map(\.format) == Self.formats && $0.bands == nil })
  }

  @Test(
    "the prediction difference executes one format a width and scales the others by their error")
  func predictionDifference() throws {
    let bench = try Bench()
    let swaps = try bench.estimate(everyFormat: true).rows
    let (rows, steps) = try bench.estimate(everyFormat: false)
    // int3_g32, and int4_g64 for both 4-bit formats.
    #expect(steps.count == 2 * bench.model.operators.count)
    for (row, swap) in zip(rows, swaps) {
      #expect(row.entries[0] == swap.entries[0])
      #expect(row.entries[1] == swap.entries[1])
      let scale = row.entries[2].relativeOutputError / row.entries[1].relativeOutputError
      #expect(row.entries[2].value == swap.entries[1].value.map { $0 * scale })
    }
  }

  @Test("plain masks find what an operator's weights cost where the loss is their squared change")
  func plainMasks() throws {
    let bench = try Bench()
    let model = bench.model
    func cost(_ index: Int) -> Double { 0.5 + Double(index * index % 7) }
    func energy(_ index: Int, _ other: FloatMatrix) -> Double {
      zip(model.floatWeights(of: index).values, other.values).reduce(0) {
        $0 + Double($1.0 - $1.1) * Double($1.0 - $1.1)
      }
    }
    let estimation = PlainMaskEstimation(
      model: model, formats: Self.formats,
      design: MaskDesign(
        operatorCount: model.operators.count, formats: Self.formats, seed: 3, maskSize: 2,
        partitionCount: 8, denseCount: 4),
      variants: bench.variants, seed: 3
    ) { variant in
      model.operators.indices.reduce(0) {
        $0 + cost($1) * energy($1, variant.floatWeights(of: $1))
      }
    }
    let rows = try estimation.run(tokens: bench.windows[0], journal: nil) { _ in }.rows
    for (index, row) in rows.enumerated() {
      for entry in row.entries {
        let error = energy(index, bench.variants.variant(index, entry.format).dequantized())
        let value = try #require(entry.value)
        // Shares are shrunk towards their belief, so a few percent are left.
        #expect(abs(value / (cost(index) * error) - 1) < 0.05, "\(index) \(entry.format)")
      }
    }
  }

  @Test("windows besides those measured on share none of them, and there may be none left")
  func besides() throws {
    let tokenizer = try Tokenizers.load(
      path: Fixtures.docsLlama.appending(path: "tokenizer.json").path)
    let text = String(
      try String(
        contentsOf: Fixtures.docsLlama.appending(path: "calibration.txt"), encoding: .utf8
      ).prefix(20_000))
    func windows(_ count: Int, _ placement: TokenWindows.Placement) throws -> [[Int]] {
      try TokenWindows.languageModel(
        name: "text", text: text, tokenizer: tokenizer, count: count, length: 64,
        placement: placement
      ).windows
    }
    let all = try windows(.max, .first)
    let spread = try windows(8, .spread)
    let wide = try windows(20, .wide(measured: 8))
    #expect(wide.count == 20 && Set(wide).isSuperset(of: spread))
    let besides = try windows(8, .besides(measured: 8, wide: 20))
    #expect(besides.count == 8 && Set(besides).isDisjoint(with: wide))
    #expect(Set(besides).isSubset(of: all) && Set(besides).count == 8)
    let rest = try windows(.max, .besides(measured: 8, wide: 20))
    #expect(Set(rest).union(wide) == Set(all) && rest.count == all.count - 20)
    // However many are wanted, half of what was not measured on stays for checks.
    let most = try windows(10_000, .wide(measured: 8))
    let left = try windows(.max, .besides(measured: 8, wide: 10_000))
    #expect(most.count == 8 + (all.count - 8) / 2 && Set(most).isDisjoint(with: left))
    #expect(most.count + left.count == all.count)
    #expect(throws: TokenWindows.TooShort.self) {
      try windows(8, .besides(measured: all.count, wide: all.count))
    }
  }
}
