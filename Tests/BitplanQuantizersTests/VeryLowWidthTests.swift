import BitplanCheckpoint
import BitplanCore
import BitplanKernels
import BitplanQuantizers
import BitplanTestSupport
import Foundation
import Testing

/// BiLLM, OneBit's start and SplitQuant against their papers' equations in NumPy, and against the
/// formats that store them.
struct VeryLowWidthTests {
  static let (rows, columns) = (16, 256)

  static func golden(_ file: String, _ name: String) throws -> FloatMatrix {
    let checkpoint = try Checkpoint(
      path: Fixtures.folder.appending(path: "golden/\(file).safetensors").path)
    let height = name == "hessian" ? columns : rows
    return FloatMatrix(
      rows: height, columns: columns,
      values: try checkpoint.floats(name, shape: [height, columns]))
  }

  static func binarized(salientLimit: Int) throws -> SplitBinarization {
    SplitBinarization(
      try golden("families", "weights"),
      curvature: ErrorFeedbackTests.curvature(try golden("families", "hessian")),
      salientLimit: salientLimit)
  }

  /// Weights further than `tolerance`, relative to the largest magnitude, from what is expected.
  static func different(_ a: FloatMatrix, _ b: FloatMatrix, _ tolerance: Float) -> Int {
    let largest = b.values.reduce(0) { max($0, abs($1)) }
    return zip(a.values, b.values).count { abs($0 - $1) > tolerance * largest }
  }

  // Two magnitudes rounded to 11 bits are off by 2⁻¹¹ of the largest value at most, and errors fed
  // forward from the block before change means by about as much again.

  @Test("BiLLM's salient columns are those of its equations, and so are its weights")
  func agreesWithBiLLM() throws {
    let found = try Self.binarized(salientLimit: SplitBinarization.salientLimit)
    let checkpoint = try Checkpoint(
      path: Fixtures.folder.appending(path: "golden/very-low-widths.safetensors").path)
    let salient = try checkpoint.floats("billm.salient", shape: [Self.columns])
    #expect(found.isSalient == salient.map { $0 == 1 })
    #expect(found.isSalient.contains(true))
    let expected = try Self.golden("very-low-widths", "billm.restored")
    // A weight next to the threshold may change sides.
    #expect(Self.different(found.restored, expected, 0.002) <= 4)
    #expect(found.binaryCoded() == nil)
  }

  @Test("without salient columns BiLLM is two bits of binary coding, weight for weight")
  func isBinaryCoding() throws {
    let found = try Self.binarized(salientLimit: 0)
    let expected = try Self.golden("very-low-widths", "billm.plain")
    #expect(Self.different(found.restored, expected, 0.002) <= 4)
    let coded = try #require(found.binaryCoded())
    #expect(coded.format.identifier == "bcq2_g128")
    #expect(coded.dequantized() == found.restored.values)
  }

  @Test("a row has BiLLM's codes in any segment")
  func segmentsAgree() throws {
    let weights = try Self.golden("families", "weights")
    let format = try #require(WeightFormat(identifier: "bcq2_g128"))
    let quantizer = OperatorQuantizer(.splitBinarization, pool: ErrorFeedbackTests.pool)
    let statistics = InputStatistics(
      meanSquares: nil,
      curvature: ErrorFeedbackTests.curvature(try Self.golden("families", "hessian")))
    let whole = quantizer.quantize(weights, as: format, statistics).dequantized()
    let part = quantizer.quantize(weights, rows: [9..<11, 2..<3], as: format, statistics)
      .dequantized()
    let expected = [9, 10, 2].flatMap { whole[$0 * 256..<($0 + 1) * 256] }
    #expect(part == expected)
    #expect(whole == (try Self.binarized(salientLimit: 0)).restored.values)
  }

  @Test("BiLLM's bytes are two bits a weight, four magnitudes a block and row, one bit a column")
  func countsSplitBytes() throws {
    let found = try Self.binarized(salientLimit: 49)
    #expect(found.storedBytes == 16 * 64 + 16 * 2 * 4 * 2 + 32)
    // Two magnitudes fewer, and no column is marked.
    #expect(try Self.binarized(salientLimit: 0).storedBytes == 16 * 64 + 16 * 2 * 2 * 2)
  }

  @Test("OneBit's start is the sign times the best product of two vectors")
  func agreesWithOneBit() throws {
    let weights = try Self.golden("families", "weights")
    let found = SignFactors(weights)
    let expected = try Self.golden("very-low-widths", "onebit.restored")
    // Two factors of 11 bits.
    #expect(Self.different(found.product, expected, 0.001) == 0)
    #expect(found.storedBytes == 16 * 32 + 2 * (16 + 256))
  }

  @Test("OneBit without its input factors is one bit of binary coding")
  func foldsInputFactors() throws {
    let found = SignFactors(try Self.golden("families", "weights"))
    let coded = try #require(found.withoutInputFactors()).dequantized()
    let product = found.product.values
    for index in product.indices {
      #expect(coded[index] * found.inputFactors[index % Self.columns] == product[index])
    }
  }

  @Test("SplitQuant is three even runs of levels", arguments: [2, 4])
  func agreesWithSplitQuant(_ bits: Int) throws {
    let found = SplitCodebook(try Self.golden("families", "weights"), bitWidth: bits)
    let expected = try Self.golden("very-low-widths", "splitquant\(bits).restored")
    // A weight midway between two levels may go to either.
    #expect(Self.different(found.restored, expected, 1e-5) <= 4)
    #expect(Set(found.codes).count <= 3 << bits)
    #expect(found.storedBytes == 16 * 256 * (bits + 2) / 8 + 18)
  }

  @Test("degenerate weights stay finite")
  func survivesZeros() throws {
    let zeros = FloatMatrix(rows: 2, columns: 128)
    let curvature = ErrorFeedbackTests.curvature(ErrorFeedbackTests.products(128, seed: 1))
    #expect(SplitBinarization(zeros, curvature: curvature).restored.values.allSatisfy { $0 == 0 })
    #expect(SignFactors(zeros).product.values.allSatisfy { $0 == 0 })
    #expect(SplitCodebook(zeros, bitWidth: 2).restored.values.allSatisfy { abs($0) < 1e-5 })
  }
}

/// The ways to find codes that the study compares.
struct QuantizerMethodTests {
  @Test("provenance names one method", arguments: OperatorQuantizer.Method.allCases)
  func provenanceIsUnique(_ method: OperatorQuantizer.Method) {
    #expect(OperatorQuantizer.Method(provenance: method.provenance) == method)
  }

  @Test(
    "each way of rounding loses less than the one before", arguments: ["int3_g64", "int4_g128"])
  func methodsAreOrdered(_ identifier: String) throws {
    let format = try #require(WeightFormat(identifier: identifier))
    let weights = RoundToNearestTests.random(48, 256, seed: 8)
    let products = ErrorFeedbackTests.products(256, seed: 9)
    let statistics = InputStatistics(
      meanSquares: (0..<256).map { products[$0, $0] },
      curvature: ErrorFeedbackTests.curvature(products))
    let methods: [OperatorQuantizer.Method] = [
      .minMax, .roundToNearest, .feedbackAlone, .errorFeedback,
    ]
    let losses = methods.map { method in
      let codes = OperatorQuantizer(method, pool: ErrorFeedbackTests.pool)
        .quantize(weights, as: format, statistics)
      return ErrorFeedbackTests.objective(weights, codes.dequantized(), products).reduce(0, +)
    }
    for (worse, better) in zip(losses, losses.dropFirst()) { #expect(better < worse) }
  }
}
