import BitplanCheckpoint
import BitplanCore
import BitplanKernels
import BitplanQuantizers
import BitplanTestSupport
import Foundation
import Testing

/// Error feedback for formats with uneven values, or with one scale for more than a group.
struct FamilyFeedbackTests {
  static let pool = ThreadPool(threadCount: 2)
  static let formats = [
    "nl4_g64", "int8_row", "bfp4_b32", "bfp6_b32", "int4_g128q", "bcq1_g128", "bcq2_g128",
    "bcq3_g128", "bcq4_g128",
  ].compactMap(WeightFormat.init(identifier:))

  static func quantize(
    _ weights: FloatMatrix, _ format: WeightFormat, _ products: FloatMatrix, refinements: Int,
    rows: [Range<Int>]? = nil, pool: ThreadPool = pool
  ) -> QuantizedWeights {
    ErrorFeedbackTests.quantize(
      weights, format, products, refinements: refinements, rows: rows, pool: pool)
  }

  @Test(
    "GPTQ gives an exhaustive search's codes", arguments: ["nl4", "bcq1", "bcq2", "bcq3", "bcq4"])
  func agreesWithExhaustiveSearch(_ name: String) throws {
    let golden = try Checkpoint(
      path: Fixtures.folder.appending(path: "golden/families.safetensors").path)
    let (rows, columns, groups) = (16, 256, 2)
    let format = try #require(WeightFormat(identifier: "\(name)_g128"))
    let weights = FloatMatrix(
      rows: rows, columns: columns, values: try golden.floats("weights", shape: [rows, columns]))
    let hessian = FloatMatrix(
      rows: columns, columns: columns,
      values: try golden.floats("hessian", shape: [columns, columns]))
    let scales = try golden.floats("\(name).scales", shape: [rows, groups])
    let offsets =
      format.coding == .binary ? try golden.floats("\(name).offsets", shape: [rows, groups]) : []
    let planes = format.coding == .binary && format.bitWidth > 1 ? format.bitWidth : 0
    let planeWeights =
      planes > 0 ? try golden.floats("\(name).planeWeights", shape: [rows, groups, planes]) : []
    let expected = try golden.floats("\(name).codes", shape: [rows, columns])
    // Rows come one by one, so that each is fitted with its own numbers.
    let curvature = ErrorFeedbackTests.curvature(hessian)
    var codes: [UInt8] = []
    for row in 0..<rows {
      let quantized = ErrorFeedback(pool: Self.pool, refinements: 0).quantize(
        weights, rows: [row..<row + 1], as: format, curvature: curvature
      ) { _ in
        FittedRow(
          scales: scales[row * groups..<(row + 1) * groups].map { Float16($0).bitPattern },
          bytes: planeWeights[row * groups * planes..<(row + 1) * groups * planes]
            .map { UInt8($0) },
          offsets: offsets.isEmpty
            ? [] : offsets[row * groups..<(row + 1) * groups].map { Float16($0).bitPattern })
      }
      switch quantized.payload {
      case .integer(let found, _, _): codes += found
      case .binary(let found, _, _, _): codes += found
      default: Issue.record("neither levels nor signs")
      }
    }
    let equal = zip(codes, expected).count { Float($0) == $1 }
    #expect(Double(equal) >= 0.999 * Double(expected.count), "\(equal) of \(expected.count)")
  }

  @Test("feedback beats rounding, and refinement never makes a row worse", arguments: formats)
  func objectiveFalls(_ format: WeightFormat) {
    let weights = RoundToNearestTests.random(70, 160, seed: 3)
    let products = ErrorFeedbackTests.products(160, seed: 4)
    func objective(_ quantized: QuantizedWeights) -> [Double] {
      ErrorFeedbackTests.objective(weights, quantized.dequantized(), products)
    }
    let rounded = objective(
      RoundToNearest(pool: Self.pool).quantize(
        weights, as: format, meanSquaredInput: (0..<160).map { products[$0, $0] }))
    let fed = objective(Self.quantize(weights, format, products, refinements: 0))
    let refined = objective(Self.quantize(weights, format, products, refinements: 2))
    #expect(fed.reduce(0, +) < 0.9 * rounded.reduce(0, +))
    // Exponents are not refitted: only codes can still gain.
    let share = format.coding == .blockFloat ? 1 : 0.99
    #expect(refined.reduce(0, +) < share * fed.reduce(0, +))
    // Float sums may err in the last digits of a row.
    for row in 0..<70 { #expect(refined[row] <= fed[row] * 1.001) }
  }

  @Test("a row has the same codes in any segment and at any thread count", arguments: formats)
  func rowsAreIndependent(_ format: WeightFormat) {
    let weights = RoundToNearestTests.random(150, 96, seed: 7)
    let products = ErrorFeedbackTests.products(96, seed: 8)
    let whole = Self.quantize(weights, format, products, refinements: 1).dequantized()
    let threads = Self.quantize(
      weights, format, products, refinements: 1, pool: ThreadPool(threadCount: 3)
    ).dequantized()
    #expect(whole == threads)
    let rows = [5..<9, 80..<131, 149..<150]
    let segment = Self.quantize(weights, format, products, refinements: 1, rows: rows).dequantized()
    #expect(segment == rows.flatMap { $0.flatMap { whole[$0 * 96..<($0 + 1) * 96] } })
  }

  @Test("two-level codes keep the integer weights within ±127", arguments: [0, 2])
  func protectiveRange(_ refinements: Int) throws {
    let format = try #require(WeightFormat(identifier: "int4_g128q"))
    let weights = RoundToNearestTests.random(40, 300, seed: 14)
    let products = ErrorFeedbackTests.products(300, seed: 15)
    let quantized = Self.quantize(weights, format, products, refinements: refinements)
    guard case .twoLevel(let codes, _, let levels) = quantized.payload else {
      Issue.record("a two-level format gave something else")
      return
    }
    for row in 0..<40 {
      for column in 0..<300 {
        let level = levels[row * 3 + column / 128]
        #expect(level.codes.contains(Int(codes[row * 300 + column])))
      }
    }
  }

  @Test("rows and groups of zeros, and silent inputs, give finite weights", arguments: formats)
  func zeros(_ format: WeightFormat) {
    let weights = RoundToNearestTests.random(20, 256, seed: 9)
    for column in 0..<256 { weights[3, column] = 0 }
    for column in 0..<128 { weights[5, column] = 0 }
    let silent = FloatMatrix(rows: 256, columns: 256)
    for products in [silent, ErrorFeedbackTests.products(256, seed: 16)] {
      let values = Self.quantize(weights, format, products, refinements: 2).dequantized()
      #expect(values.allSatisfy { $0.isFinite })
      // Nothing but what the smallest scale rounds to.
      #expect(values[3 * 256..<4 * 256].allSatisfy { abs($0) < 1e-3 })
    }
  }
}
