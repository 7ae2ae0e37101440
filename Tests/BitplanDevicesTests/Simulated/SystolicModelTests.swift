import BitplanCore
import BitplanDevices
import Testing

/// A small array with every rule of precision, both dataflows and both places of dequantization.
enum SmallArrays {
  static func array(
    rows: Int, columns: Int, dataflow: SystolicArray.Dataflow,
    dequantization: SystolicArray.Dequantization, scaleUnits: Int, weightBits: Int = 4,
    smallestWeightBits: Int = 4, accumulatorBits: Int? = nil, buffer: Int = 4096,
    memoryBitsPerCycle: Int = 16
  ) throws -> SystolicArray {
    var array = try #require(DeviceCatalog.device("mixpe")?.systolicArray)
    array.rows = rows
    array.columns = columns
    array.dataflow = dataflow
    array.dequantization = dequantization
    array.scaleUnits = scaleUnits
    array.weightBits = weightBits
    array.smallestWeightBits = smallestWeightBits
    array.accumulatorBits = accumulatorBits
    array.weightBufferBytes = buffer
    array.activationBufferBytes = buffer
    array.outputBufferBytes = buffer
    array.memoryBitsPerCycle = memoryBitsPerCycle
    return array
  }
}

struct SystolicModelTests {
  struct Case: Sendable, CustomTestStringConvertible {
    var rows, columns, scaleUnits, outputs, inputs, tokens, weightBits, group: Int
    var memory = 1 << 20
    var buffer = 4096
    var splits = false
    var accumulatorBits: Int?
    var testDescription: String {
      "\(rows)×\(columns), \(scaleUnits) units: [\(outputs), \(inputs)] × \(tokens), w\(weightBits) g\(group)"
    }
  }

  // One tile and many, edges that do not fill the grid, scale units that keep up and that do not,
  // groups that end early, weights of two passes and of half an element, a slow DRAM, small SRAM.
  static let cases: [Case] = [
    Case(
      rows: 1, columns: 1, scaleUnits: 1, outputs: 1, inputs: 1, tokens: 1, weightBits: 4, group: 8),
    Case(
      rows: 3, columns: 2, scaleUnits: 2, outputs: 2, inputs: 9, tokens: 3, weightBits: 4, group: 4),
    Case(
      rows: 2, columns: 4, scaleUnits: 1, outputs: 7, inputs: 10, tokens: 5, weightBits: 4, group: 4
    ),
    Case(
      rows: 4, columns: 3, scaleUnits: 2, outputs: 6, inputs: 13, tokens: 4, weightBits: 8, group: 4
    ),
    Case(
      rows: 3, columns: 5, scaleUnits: 2, outputs: 11, inputs: 8, tokens: 7, weightBits: 3, group: 2
    ),
    Case(
      rows: 2, columns: 3, scaleUnits: 4, outputs: 6, inputs: 16, tokens: 2, weightBits: 8,
      group: 16, memory: 3),
    Case(
      rows: 2, columns: 2, scaleUnits: 1, outputs: 5, inputs: 24, tokens: 5, weightBits: 4,
      group: 8, memory: 7, buffer: 24),
    Case(
      rows: 2, columns: 3, scaleUnits: 2, outputs: 14, inputs: 12, tokens: 3, weightBits: 4,
      group: 4, memory: 64, splits: true),
    Case(
      rows: 3, columns: 2, scaleUnits: 2, outputs: 4, inputs: 20, tokens: 6, weightBits: 4,
      group: 16, accumulatorBits: 14),
    Case(
      rows: 2, columns: 2, scaleUnits: 1, outputs: 3, inputs: 17, tokens: 4, weightBits: 12,
      group: 17, memory: 40),
  ]

  @Test(
    "cycles, work and traffic are those of the machine clocked cycle by cycle, in every tiling",
    arguments: cases, SystolicArray.Dataflow.allCases)
  func agreesWithReference(_ test: Case, _ dataflow: SystolicArray.Dataflow) throws {
    for dequantization in SystolicArray.Dequantization.allCases {
      for scaleBits in [0, 16] {
        let array = try SmallArrays.array(
          rows: test.rows, columns: test.columns, dataflow: dataflow,
          dequantization: dequantization, scaleUnits: test.scaleUnits,
          weightBits: test.splits ? 8 : 4, accumulatorBits: test.accumulatorBits,
          buffer: test.buffer, memoryBitsPerCycle: test.memory)
        let product = SystolicProduct(
          outputFeatures: test.outputs, inputFeatures: test.inputs, tokens: test.tokens,
          weightBits: test.weightBits, activationBits: 8,
          groupSize: scaleBits == 0 ? test.inputs : test.group, scaleBits: scaleBits)
        let model = SystolicModel(array)
        let reference = ReferenceArray(array, product)
        var fewest = Int.max
        for tiling in model.tilings(product) {
          let expected = reference.run(tiling)
          let actual = model.result(product, tiling)
          #expect(actual.cycles == expected.cycles, "\(dequantization) \(scaleBits) \(tiling)")
          #expect(actual.computeCycles == expected.compute, "\(dequantization) \(tiling)")
          #expect(actual.memoryBits == expected.memoryBits, "\(dequantization) \(tiling)")
          fewest = min(fewest, expected.cycles)
        }
        #expect(model.result(product).cycles == fewest)
      }
    }
  }

  @Test("many random small machines agree with the reference")
  func agreesWithReferenceAtRandom() throws {
    var generator = SeededGenerator(state: 20_260_601)
    for _ in 0..<150 {
      func pick(_ range: ClosedRange<Int>) -> Int { Int.random(in: range, using: &generator) }
      let array = try SmallArrays.array(
        rows: pick(1...4), columns: pick(1...5),
        dataflow: pick(0...1) == 0 ? .outputStationary : .weightStationary,
        dequantization: pick(0...1) == 0 ? .beforeProduct : .afterGroup, scaleUnits: pick(1...6),
        weightBits: [2, 4, 8][pick(0...2)], smallestWeightBits: 2,
        accumulatorBits: [nil, 16, 24][pick(0...2)], buffer: [16, 64, 4096][pick(0...2)],
        memoryBitsPerCycle: [1, 13, 1024][pick(0...2)])
      let product = SystolicProduct(
        outputFeatures: pick(1...11), inputFeatures: pick(1...21), tokens: pick(1...9),
        weightBits: [2, 3, 4, 8][pick(0...3)], activationBits: 8, groupSize: 1 << pick(0...4),
        scaleBits: 16)
      let model = SystolicModel(array)
      for tiling in model.tilings(product) {
        let expected = ReferenceArray(array, product).run(tiling)
        let actual = model.result(product, tiling)
        #expect(
          [actual.cycles, actual.computeCycles, actual.memoryBits]
            == [expected.cycles, expected.compute, expected.memoryBits],
          "\(array) \(product) \(tiling)")
      }
    }
  }

  @Test("4-bit weights are native to MixPE, 8-bit ones take two passes, and INT8 gains nothing")
  func precisionRules() throws {
    // 64 × 64 outputs of 256 input features: one tile of MixPE's grid, four of INT8's.
    let shape = MatrixShape(outputFeatures: 64, inputFeatures: 256)
    func cycles(_ device: String, _ format: String) throws -> Int {
      let array = try #require(DeviceCatalog.device(device)?.systolicArray)
      let format = try #require(WeightFormat(identifier: format))
      return SystolicModel(array).result(
        SystolicProduct(format: format, shape: shape, tokens: 64, on: array)
      ).computeCycles
    }
    // Input features × passes, 62 cycles until they reach the last unit's first column, and that
    // unit's 64 rows × 2 columns of sums.
    #expect(try cycles("mixpe", "int4_g128") == 256 + 62 + 128)
    #expect(try cycles("mixpe", "int3_g128") == 256 + 62 + 128)
    #expect(try cycles("mixpe", "int8_g128") == 512 + 62 + 128)
    // Sums of 64 rows × 2 columns wait at each unit every 64 cycles: scaling is the bottleneck.
    #expect(try cycles("mixpe", "int4_g64") == 63 + 4 * 128 + 62 + 1)
    for format in ["int2_g32", "int4_g128", "int8_g128", "int8_g128s"] {
      #expect(try cycles("int8", format) == 4 * (256 + 62 + 1))
    }
    // 64 columns of half elements at 4 bits: two tiles. At 8 bits 40 and 24 columns: four.
    #expect(try cycles("bitfusion", "int4_g128") == 2 * (256 + 94 + 1))
    #expect(try cycles("bitfusion", "int8_g128") == 2 * (256 + 70 + 1) + 2 * (256 + 54 + 1))
  }

  @Test("energy is counted by hand for one tile")
  func energyByHand() throws {
    let array = try SmallArrays.array(
      rows: 2, columns: 3, dataflow: .outputStationary, dequantization: .afterGroup, scaleUnits: 3)
    let product = SystolicProduct(
      outputFeatures: 3, inputFeatures: 8, tokens: 2, weightBits: 4, activationBits: 8,
      groupSize: 4, scaleBits: 16)
    let result = SystolicModel(array).result(product)
    let e = array.energy
    let weightBits = 3.0 * (8 * 4 + 2 * 16)
    let activationBits = 2.0 * 8 * 8
    let outputBits = 2.0 * 3 * 16
    let expected = SystolicModel.Energy(
      static: Double(result.cycles)
        * (6 * e.elementLeakagePicojoulesPerCycle + e.bufferLeakagePicojoulesPerCycle
          + e.memoryStaticPicojoulesPerCycle),
      memory: (weightBits + activationBits) * e.memoryReadPicojoulesPerBit
        + outputBits * e.memoryWritePicojoulesPerBit,
      buffer: weightBits * (e.weightWritePicojoulesPerBit + e.weightReadPicojoulesPerBit)
        + activationBits * (e.activationWritePicojoulesPerBit + e.activationReadPicojoulesPerBit)
        + outputBits * (e.outputReadPicojoulesPerBit + e.outputWritePicojoulesPerBit),
      core: 2 * 3 * 8 * e.elementPicojoulesPerCycle + 2 * 3 * 2 * e.scalePicojoules)
    // The same sums in another order: a few units in the last place.
    for (actual, expected) in [
      (result.energy.staticJoules, expected.staticJoules),
      (result.energy.memoryJoules, expected.memoryJoules),
      (result.energy.bufferJoules, expected.bufferJoules),
      (result.energy.coreJoules, expected.coreJoules),
    ] {
      #expect(abs(actual - expected) <= 8 * expected.ulp)
    }
  }
}

extension SystolicModel.Energy {
  /// From picojoules.
  fileprivate init(`static`: Double, memory: Double, buffer: Double, core: Double) {
    self.init()
    staticJoules = `static` * 1e-12
    memoryJoules = memory * 1e-12
    bufferJoules = buffer * 1e-12
    coreJoules = core * 1e-12
  }
}
