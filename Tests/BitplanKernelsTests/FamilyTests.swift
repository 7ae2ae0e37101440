import BitplanCore
import BitplanKernels
import Testing

/// What the families of formats add to the kernels: places of bytes, sums over whole rows, and the
/// scalar kernels in place of missing ones.
struct FamilyTests {
  @Test("levels of non-linear formats, by hand and as the kernels have them")
  func nonlinearLevels() throws {
    #expect(NonlinearLevels.values == NonlinearLevels.values.sorted())
    let format = try #require(WeightFormat(identifier: "nl4_g32"))
    let weights = QuantizedWeights(
      format: format, shape: MatrixShape(outputFeatures: 1, inputFeatures: 16),
      payload: .integer(
        codes: Array(0..<16), scales: [Float16(0.5).bitPattern], zeroPoints: []))
    let expected = NonlinearLevels.values.map { Float($0) / 2 }
    #expect(PackedOperator(PackedMatrix(packing: weights)).dequantized().values == expected)
    for (code, level) in expected.enumerated() {
      var x = [Float](repeating: 0, count: 16)
      x[code] = 127
      let y = product(
        PackedOperator(PackedMatrix(packing: weights)), x, tokens: 1, try makeContext(.scalar))
      #expect(y == [127 * level])
    }
  }

  @Test("bytes of a two-level segment lie where PackedLayout says")
  func twoLevelBytes() throws {
    let format = try #require(WeightFormat(identifier: "int4_g128q"))
    let shape = MatrixShape(outputFeatures: 16, inputFeatures: 256)
    let levels = (0..<32).map { TwoLevelCode(groupScale: $0 / 2 + 1, zeroPoint: $0 % 16) }
    let packed = PackedMatrix(
      packing: QuantizedWeights(
        format: format, shape: shape,
        payload: .twoLevel(
          codes: [UInt8](repeating: 9, count: shape.weightCount),
          scales: (0..<16).map { UInt16($0) + 700 }, levels: levels)))
    #expect(packed.layout.scalesOffset == 2 * 1024)
    #expect(packed.layout.zeroPointsOffset == 2 * 1024 + 64)
    #expect(packed.layout.storedBytes == 2 * 1024 + 64 + 64)
    packed.bytes.withUnsafeBytes { bytes in
      #expect(bytes[0] == 0x99 && bytes[2047] == 0x99)
      for row in 0..<16 {
        let scale = UInt16(bytes[2048 + 2 * row]) | UInt16(bytes[2049 + 2 * row]) << 8
        #expect(scale == UInt16(row) + 700)
        for group in 0..<2 {
          let index = 2 * row + group
          let stored = Int(bytes[2112 + 16 * group + row])
          #expect(stored == index % 16 + 16 * (index / 2))
        }
      }
    }
  }

  @Test("bytes of binary coding and of block floating point lie where PackedLayout says")
  func planesAndExponents() throws {
    let binary = try #require(WeightFormat(identifier: "bcq3_g128"))
    let shape = MatrixShape(outputFeatures: 16, inputFeatures: 128)
    // Code of (row, k) is (row + k) mod 8.
    let codes = (0..<2048).map { (index: Int) -> UInt8 in
      UInt8(index / 128 + index % 128) % 8
    }
    let packed = PackedMatrix(
      packing: QuantizedWeights(
        format: binary, shape: shape,
        payload: .binary(
          codes: codes, scales: (0..<16).map { $0 + 700 }, offsets: (0..<16).map { $0 + 900 },
          planeWeights: (0..<48).map { $0 })))
    #expect(packed.layout.storedBytes == 768 + 64 + 128)
    packed.bytes.withUnsafeBytes { bytes in
      for row in 0..<16 {
        for k in 0..<128 {
          for bit in 0..<3 {
            let place: Int = bit * 256 + k / 32 * 64 + 4 * row + k % 4
            let stored: Int = Int(bytes[place]) >> (k % 32 / 4) & 1
            let code: Int = (row + k) % 8
            let expected: Int = (code >> bit) & 1
            #expect(stored == expected)
          }
        }
        let (scale, offset) = (Int(bytes[768 + 2 * row]), Int(bytes[832 + 2 * row]))
        #expect(scale == (700 + row) & 255 && offset == (900 + row) & 255)
        // Plane weights are stored [bit][row], given [row][bit].
        for bit in 0..<3 {
          let place: Int = 864 + 16 * bit + row
          #expect(Int(bytes[place]) == 3 * row + bit)
        }
      }
    }
    let block = try #require(WeightFormat(identifier: "bfp8_b32"))
    let small = MatrixShape(outputFeatures: 2, inputFeatures: 64)
    let blocks = PackedMatrix(
      packing: QuantizedWeights(
        format: block, shape: small,
        payload: .blockFloat(
          codes: [UInt8](repeating: 1, count: 128), exponents: [10, 11, 12, 13])))
    #expect(blocks.layout.storedBytes == 2 * 512 + 64)
    blocks.bytes.withUnsafeBytes { bytes in
      #expect(bytes[1024] == 10 && bytes[1025] == 12 && bytes[1040] == 11 && bytes[1041] == 13)
    }
  }

  @Test("activations with one scale a token, by hand")
  func perTokenActivations() throws {
    // Largest magnitude 254 among 130 values: scale 2 for both groups of 128.
    let x = Activations(capacity: 2, inputFeatures: 130)
    for (k, value) in [(0, Float(-254)), (1, 3), (128, 5), (129, 1)] { x.values[0, k] = value }
    x.values[1, 129] = 12.7
    x.didChange(tokenCount: 2)
    for set in InstructionSet.supported {
      x.didChange(tokenCount: 2)
      let values = x.dequantized(groupSize: WeightFormat.wholeToken, try makeContext(set)).values
      var expected = [Float](repeating: 0, count: 260)
      for (k, value) in [(0, Float(-254)), (1, 4), (128, 4), (129, 0), (259, 12.7)] {
        expected[k] = value
      }
      // The scale 12.7 / 127 is rounded once and its product with 127 once.
      #expect(abs(values[259] - 12.7) <= 12.7 * 0x1p-23)
      expected[259] = values[259]
      #expect(values == expected)
    }
  }

  @Test("rows of 2^17 input features do not overflow", arguments: InstructionSet.supported)
  func longestRows(_ set: InstructionSet) throws {
    let columns = 1 << 17
    let context = try makeContext(set, threads: 2)
    for name in ["int8_row", "int4_g128q"] {
      let format = try #require(WeightFormat(identifier: name))
      #expect(format.maximumInputFeatures == columns)
      let shape = MatrixShape(outputFeatures: 1, inputFeatures: columns)
      for (weights, value) in QuantizedWeights.constants(format, shape) {
        let packed = PackedOperator(PackedMatrix(packing: weights))
        for (tokens, sign) in [(1, Float(1)), (2, -1), (9, 1), (17, -1)] {
          let x = [Float](repeating: 127 * sign, count: tokens * columns)
          // −128 · −127 · 2^17 = 2,130,706,432 is the largest sum; the others are even smaller
          // multiples of 2^17, so every one is a float.
          let expected = sign * Float(value * 127 * columns)
          let y = product(packed, x, tokens: tokens, context)
          #expect(y.allSatisfy { $0 == expected }, "\(name): \(y[0]), not \(expected)")
        }
      }
    }
  }

  @Test("formats whose sums have no room for the input features are refused")
  func tooWide() throws {
    for name in ["int8_row", "int4_g128q"] {
      let format = try #require(WeightFormat(identifier: name))
      let shape = MatrixShape(outputFeatures: 1, inputFeatures: 1 << 17 + 1)
      let layout = PackedLayout(format, shape)
      let region = AlignedBytes(count: layout.storedBytes)
      #expect(throws: KernelError.self) {
        try PackedMatrix(layout, bytes: ByteSlice(region: region, range: 0..<region.count))
      }
    }
  }

  @Test("lookup tables and masked planes give the same bits", arguments: InstructionSet.supported)
  func lookup(_ set: InstructionSet) throws {
    var generator = SeededGenerator(state: 22)
    let kernels = try #require(KernelSet(set))
    #expect(!kernels.usesLookup)
    print("\(set.rawValue) has lookup tables: \(kernels.withLookup != nil)")
    guard let kernels = kernels.withLookup else { return }
    #expect(kernels.usesLookup)
    for format in WeightFormat.all where format.coding == .binary {
      for shape in [Shape(1, 1), Shape(17, 130), Shape(48, 900)] {
        let weights = PackedOperator(
          PackedMatrix(packing: generator.weights(format, shape.matrixShape)))
        // Codes of ±127 only, now and then: sums of four reach ±508.
        for values in [
          generator.floats(shape.columns), [Float](repeating: -3, count: shape.columns),
        ] {
          let expected = product(weights, values, tokens: 1, try makeContext(.scalar))
          let context = KernelContext(kernels: kernels, pool: ThreadPool(threadCount: 1))
          let actual = product(weights, values, tokens: 1, context)
          #expect(firstDifference(expected, actual) == nil, "\(format), \(shape)")
        }
      }
    }
  }

  @Test(
    "the scalar kernels stand in for missing ones, whatever the order of activations",
    arguments: InstructionSet.supported)
  func standIn(_ set: InstructionSet) throws {
    var generator = SeededGenerator(state: 21)
    let kernels = try #require(KernelSet(set)).integerFormatsOnly
    let context = KernelContext(kernels: kernels, pool: ThreadPool(threadCount: 2))
    for format in WeightFormat.all {
      let shape = Shape(37, 300)
      let weights = PackedOperator(
        PackedMatrix(packing: generator.weights(format, shape.matrixShape)))
      for tokens in [1, 3, 9, 20] {
        let values = generator.floats(tokens * shape.columns)
        let expected = product(weights, values, tokens: tokens, try makeContext(.scalar))
        let actual = product(weights, values, tokens: tokens, context)
        #expect(firstDifference(expected, actual) == nil, "\(format), \(tokens) tokens")
      }
    }
  }
}
