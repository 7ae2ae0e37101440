import BitplanCore
import BitplanKernels
import Testing

struct PackedMatrixTests {
  static let shapes = [Shape(1, 1), Shape(7, 33), Shape(16, 32), Shape(33, 130), Shape(64, 256)]

  @Test("packed codes come back", arguments: WeightFormat.all, shapes)
  func roundTrip(_ format: WeightFormat, _ shape: Shape) {
    var generator = SeededGenerator(state: 1)
    let weights = generator.weights(format, shape.matrixShape)

    let packed = PackedMatrix(packing: weights)
    let back = packed.unpacked()

    #expect(packed.bytes.count == format.storedBytes(shape.matrixShape))
    switch (weights.payload, back.payload) {
    case (.float16(let before), .float16(let after)):
      #expect(before == after)
    case (.integer(let codes, let scales, let zeros), .integer(let codes2, let scales2, let zeros2)):
      #expect(codes == codes2)
      #expect(scales == scales2)
      #expect(zeros == zeros2)
    case (.blockFloat(let codes, let exponents), .blockFloat(let codes2, let exponents2)):
      #expect(codes == codes2 && exponents == exponents2)
    case (
      .twoLevel(let codes, let scales, let levels), .twoLevel(let codes2, let scales2, let levels2)
    ):
      #expect(codes == codes2 && scales == scales2 && levels == levels2)
    case (
      .binary(let codes, let scales, let offsets, let planes),
      .binary(let codes2, let scales2, let offsets2, let planes2)
    ):
      #expect(codes == codes2 && scales == scales2 && offsets == offsets2 && planes == planes2)
    default:
      Issue.record("the payload changed its kind")
    }
    let expected = weights.dequantized()
    let actual = PackedOperator(packed).dequantized().values
    #expect(firstDifference(expected, actual) == nil)
  }

  @Test("bytes lie where PackedLayout says")
  func bytesByHand() throws {
    // One tile, one group of 32: code of (row, k) is (row + k) mod 32, zero point is the row.
    let format = try #require(WeightFormat(identifier: "int5_g32"))
    let shape = MatrixShape(outputFeatures: 16, inputFeatures: 32)
    var codes: [UInt8] = []
    for row in 0..<16 { for k in 0..<32 { codes.append(UInt8((row + k) % 32)) } }
    let packed = PackedMatrix(
      packing: QuantizedWeights(
        format: format, shape: shape,
        payload: .integer(
          codes: codes, scales: (0..<16).map { UInt16($0) + 100 }, zeroPoints: (0..<16).map { $0 }))
    )
    packed.bytes.withUnsafeBytes { bytes in
      for row in 0..<16 {
        for k in 0..<32 {
          let (unit, byte) = (k / 4, 4 * row + k % 4)
          let low = bytes[64 * (unit / 2) + byte] >> UInt8(4 * (unit % 2)) & 15
          let high = bytes[256 + byte] >> UInt8(unit) & 1
          #expect(low | high << 4 == UInt8((row + k) % 32))
        }
        let scale = 320 + 2 * row
        #expect(bytes[scale] == 100 + UInt8(row) && bytes[scale + 1] == 0)
        let low = bytes[384 + row % 8] >> UInt8(4 * (row / 8)) & 15
        let high = bytes[392 + row % 2] >> UInt8(row / 2) & 1
        #expect(low | high << 4 == UInt8(row))
      }
    }
  }

  @Test("a wrong byte count is refused")
  func wrongCount() throws {
    let layout = PackedLayout(.f16, MatrixShape(outputFeatures: 3, inputFeatures: 5))
    for count in [0, layout.storedBytes - 1, layout.storedBytes + 64] {
      let region = AlignedBytes(count: count)
      #expect(throws: KernelError.self) {
        try PackedMatrix(layout, bytes: ByteSlice(region: region, range: 0..<count))
      }
    }
  }

  @Test("rows are looked up in any order")
  func lookUp() {
    var generator = SeededGenerator(state: 2)
    let shape = MatrixShape(outputFeatures: 37, inputFeatures: 70)
    for format in WeightFormat.all {
      let weights = generator.weights(format, shape)
      let expected = weights.dequantized()
      let rows = [36, 0, 5, 5, 16]
      let output = FloatMatrix(rows: 6, columns: 70)
      PackedOperator(PackedMatrix(packing: weights)).lookUp(rows, into: output)
      for (position, row) in rows.enumerated() {
        #expect(
          firstDifference(
            Array(expected[row * 70..<(row + 1) * 70]),
            Array(output.values[position * 70..<(position + 1) * 70])) == nil)
      }
    }
  }
}
