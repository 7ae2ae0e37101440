import BitplanCore
import BitplanKernels
import Testing

/// Side branches beside codes: what they add, whichever way it is computed.
struct BranchTests {
  static let shape = MatrixShape(outputFeatures: 75, inputFeatures: 200)

  static func lowRank(_ rank: Int, _ generator: inout SeededGenerator) -> PackedBranch {
    PackedBranch(
      left: FloatMatrix(rows: 75, columns: rank, values: generator.floats(75 * rank)),
      right: generator.weights(
        SideBranch.rightFormat, MatrixShape(outputFeatures: rank, inputFeatures: 200)))
  }

  /// Rows of very different lengths, some empty.
  static func outliers(_ generator: inout SeededGenerator) -> PackedBranch {
    let branch = SideBranch.outliers(basisPoints: 300)
    var left = branch.outlierCount(shape)
    var (starts, columns) = ([UInt32(0)], [UInt32]())
    for row in 0..<75 {
      let most = row == 74 ? left : min(left, row % 3 == 0 ? 0 : Int(generator.next() % 17))
      var places = Array(0..<200)
      places.shuffle(using: &generator)
      columns += places.prefix(most).sorted().map { UInt32($0) }
      left -= most
      starts.append(UInt32(columns.count))
    }
    return PackedBranch(
      branch, shape, rowStarts: starts, columns: columns,
      values: generator.floats(columns.count).map { UInt16($0.bitPattern >> 16) })
  }

  static func branches() -> [PackedBranch] {
    var generator = SeededGenerator(state: 41)
    return [lowRank(5, &generator), lowRank(16, &generator), outliers(&generator)]
  }

  @Test(
    "the same bits on every instruction set, for any number of threads and tokens",
    arguments: InstructionSet.supported)
  func isTheSameEverywhere(_ set: InstructionSet) throws {
    var generator = SeededGenerator(state: 42)
    let format = try #require(WeightFormat(identifier: "int4_g64"))
    var packed = PackedOperator(PackedMatrix(packing: generator.weights(format, Self.shape)))
    let values = generator.floats(40 * 200)
    for branch in Self.branches() {
      packed.branch = branch
      for activations in ActivationFormat.allCases {
        packed.activations = activations
        let expected = product(packed, values, tokens: 40, try makeContext(.scalar))
        for threads in [1, 3] {
          let context = try makeContext(set, threads: threads)
          for tokens in [1, 2, 17, 40] {
            let y = product(packed, Array(values.prefix(tokens * 200)), tokens: tokens, context)
            #expect(firstDifference(Array(expected.prefix(tokens * 75)), y) == nil)
          }
        }
      }
    }
  }

  @Test("what is added is the product of the weights that the branch stands for")
  func addsItsWeights() throws {
    var generator = SeededGenerator(state: 43)
    let format = try #require(WeightFormat(identifier: "f16"))
    let plain = PackedOperator(PackedMatrix(packing: generator.weights(format, Self.shape)))
    let context = try makeContext(.scalar)
    let values = generator.floats(3 * 200)
    let x = Activations(capacity: 3, inputFeatures: 200)
    x.values.withUnsafeMutableBufferPointer { _ = $0.update(fromContentsOf: values) }
    x.didChange(tokenCount: 3)
    let before = product(plain, values, tokens: 3, context)
    for branch in Self.branches() {
      var whole = plain
      whole.branch = branch
      let after = product(whole, values, tokens: 3, context)
      let weights = branch.dequantized()
      // Factors meet 8-bit activations, outliers the values themselves.
      let isLowRank = branch.branch.outlierCount(Self.shape) == 0
      let inputs = isLowRank ? x.dequantized(groupSize: 128, context).values : values
      for token in 0..<3 {
        for row in 0..<75 {
          var (sum, size) = (0.0, 0.0)
          for column in 0..<200 {
            let term = Double(weights[row, column]) * Double(inputs[token * 200 + column])
            sum += term
            size += abs(term)
          }
          let base = Double(before[token * 75 + row])
          // Float sums of 200 terms, of the branch and onto what the codes gave.
          let bound = (size + abs(base) + abs(sum)) * 0x1p-16
          #expect(abs(Double(after[token * 75 + row]) - base - sum) <= bound)
        }
      }
    }
  }

  @Test("weights read back are those of the codes and of the branch, whole or row by row")
  func restoresWeights() throws {
    var generator = SeededGenerator(state: 44)
    let format = try #require(WeightFormat(identifier: "int8_g128s"))
    let plain = PackedOperator(PackedMatrix(packing: generator.weights(format, Self.shape)))
    for branch in Self.branches() {
      var whole = plain
      whole.branch = branch
      let (codes, added, all) = (
        plain.dequantized().values, branch.dequantized().values, whole.dequantized().values
      )
      // Addends of a low-rank branch are added to the codes one by one.
      for index in all.indices {
        let size = abs(codes[index]) + 16 * abs(added[index]) + 40
        #expect(abs(all[index] - codes[index] - added[index]) <= size * 0x1p-20)
      }
      let rows = FloatMatrix(rows: 2, columns: 200)
      whole.lookUp([70, 4], into: rows)
      #expect(rows.values == Array(all[70 * 200..<71 * 200] + all[4 * 200..<5 * 200]))
    }
  }

  @Test("outliers whose rows or columns do not exist are refused")
  func refusesUnsoundOutliers() throws {
    var generator = SeededGenerator(state: 45)
    let sound = Self.outliers(&generator)
    let layout = OutlierLayout(Self.shape, count: sound.branch.outlierCount(Self.shape))
    func loaded(_ change: (UnsafeMutableRawBufferPointer) -> Void) throws -> PackedBranch {
      let copy = AlignedBytes(count: sound.bytes.count)
      copy.withUnsafeMutableBytes { target in
        sound.bytes.withUnsafeBytes { target.copyBytes(from: $0) }
        change(target)
      }
      return try PackedBranch(
        sound.branch, Self.shape, bytes: ByteSlice(region: copy, range: 0..<copy.count))
    }
    _ = try loaded { _ in }
    let last = layout.count - 1
    let changes: [(UnsafeMutableRawBufferPointer) -> Void] = [
      { $0.storeBytes(of: 1, toByteOffset: 0, as: UInt32.self) },
      { $0.storeBytes(of: 0xFFFF_FFFF, toByteOffset: 4 * 40, as: UInt32.self) },
      { $0.storeBytes(of: UInt32(last), toByteOffset: 4 * 75, as: UInt32.self) },
      { $0.storeBytes(of: 200, toByteOffset: layout.columnsOffset + 2 * last, as: UInt16.self) },
      {
        let place = layout.columnsOffset + 2 * last
        let before = $0.load(fromByteOffset: place - 2, as: UInt16.self)
        $0.storeBytes(of: before, toByteOffset: place, as: UInt16.self)
      },
    ]
    for change in changes { #expect(throws: KernelError.self) { try loaded(change) } }
    #expect(throws: KernelError.self) {
      try PackedBranch(
        sound.branch, Self.shape,
        bytes: ByteSlice(region: sound.bytes.region, range: 0..<sound.bytes.count - 64))
    }
  }
}
