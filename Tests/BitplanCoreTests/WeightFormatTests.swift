import BitplanCore
import Testing

struct WeightFormatTests {
  @Test("identifiers are unique, found again, and in order")
  func identifiers() {
    let all = WeightFormat.all
    #expect(Set(all.map(\.identifier)).count == all.count)
    #expect(all == all.sorted())
    for format in all { #expect(WeightFormat(identifier: format.identifier) == format) }
    for unknown in ["", "int7_g64", "nl4", "bcq5_g128", "int4_g64q", "bfp6_g32", "INT4_G64"] {
      #expect(WeightFormat(identifier: unknown) == nil)
    }
  }

  @Test("identifiers that files may hold are still known")
  func stable() {
    let known = [
      "int2_g128", "int2_g64", "int2_g32", "int3_g128", "int3_g64", "int3_g32", "int4_g128",
      "int4_g64", "int4_g32", "int5_g128", "int5_g64", "int5_g32", "int6_g128", "int6_g64",
      "int6_g32", "int8_g128", "int8_g128s", "int8_g64", "int8_g32", "f16", "nl4_g128", "nl4_g64",
      "nl4_g32", "int4_g128q", "int8_row", "bcq1_g128", "bcq2_g128", "bcq3_g128", "bcq4_g128",
      "bfp4_b32", "bfp6_b32", "bfp8_b32",
    ]
    for identifier in known {
      #expect(WeightFormat(identifier: identifier) != nil, "\(identifier)")
    }
    #expect(Set(WeightFormat.candidates).isSubset(of: WeightFormat.all))
    #expect(WeightFormat.candidates == WeightFormat.candidates.sorted())
  }

  /// Code bits, then scales and zero points of a group or row over its weights.
  static let storedBitsPerWeight: [(String, Double)] = [
    ("int4_g64", 4.3125), ("nl4_g64", 4.25), ("int8_row", 8.00390625),
    ("int4_g128q", 4.06640625), ("bcq1_g128", 1.25), ("bcq2_g128", 2.375),
    ("bcq3_g128", 3.4375), ("bcq4_g128", 4.5), ("bfp6_b32", 6.25),
    ("f16", 16),
  ]

  @Test("stored bits per weight of 4096×4096, by hand", arguments: storedBitsPerWeight)
  func storedBits(_ identifier: String, _ bits: Double) throws {
    let format = try #require(WeightFormat(identifier: identifier))
    let shape = MatrixShape(outputFeatures: 4096, inputFeatures: 4096)
    let stored = BitsPerWeight(
      storedBytes: format.storedBytes(shape), weightCount: shape.weightCount)
    #expect(stored.value == bits)
  }

  @Test("sections follow each other without overlap", arguments: WeightFormat.all)
  func sections(_ format: WeightFormat) {
    for (rows, columns) in [(1, 1), (17, 33), (40, 300)] {
      let layout = PackedLayout(format, MatrixShape(outputFeatures: rows, inputFeatures: columns))
      #expect(layout.scalesOffset >= layout.codesBytes)
      #expect(layout.zeroPointsOffset >= layout.scalesOffset + layout.scalesBytes)
      #expect(layout.storedBytes >= layout.zeroPointsOffset + layout.zeroPointsBytes)
      #expect(layout.storedBytes % 64 == 0 && layout.zeroPointsOffset % 64 == 0)
      #expect(
        layout.storedBytes < layout.codesBytes + layout.scalesBytes + layout.zeroPointsBytes + 192)
    }
  }
}
