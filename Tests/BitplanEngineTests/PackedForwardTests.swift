import BitplanCore
import BitplanEngine
import BitplanKernels
import Testing

struct PackedForwardTests {
  /// The simulation of packed weights: dequantized, activations rounded as the kernels round them.
  static func simulation(_ packed: PackedOperator) -> OperatorWeights {
    let format = packed.segments[0].matrix.format
    return .float(
      packed.dequantized(),
      activationGroupSize: format.coding == .float16 ? nil : format.activationGroupSize)
  }

  @Test(
    "each packed operator gives what its dequantized weights give on dequantized activations",
    arguments: WeightFormat.all)
  func matchesSimulation(_ format: WeightFormat) throws {
    let model = try Tiny.llama()
    let context = try Tiny.context()
    let tokens = Tiny.tokens(13)
    let packedSession = Session(model, context: context, capacity: 20)
    let floatSession = Session(model, context: context, capacity: 20)
    for (index, description) in model.operators.enumerated() {
      let packed = RandomPacking.packed(format, description.shape, seed: UInt64(index))
      packedSession.model = model.replacing(index, with: .packed(packed))
      floatSession.model = model.replacing(index, with: Self.simulation(packed))
      for part in [tokens, [7]] {
        let a = try packedSession.forward(part, lastOnly: false).values
        let b = try floatSession.forward(part, lastOnly: false).values
        // Up to this operator both run the same arithmetic; in it they round the same products in
        // another order: some √80 · 2⁻²⁴ of the output, which the layers after it may magnify.
        #expect(
          Tiny.distance(a, b) <= 2e-5 * Tiny.magnitude(b), "\(description.name), \(part.count)")
      }
    }
  }

  @Test("a wholly packed model stays close to its simulation, and both differ from float")
  func wholeModel() throws {
    let model = try Tiny.llama()
    let context = try Tiny.context()
    let tokens = Tiny.tokens(30)
    let format = try #require(WeightFormat(identifier: "int5_g32"))
    var (packed, simulated, dequantized) = (model, model, model)
    for (index, description) in model.operators.enumerated() {
      let weights = RandomPacking.packed(format, description.shape, seed: UInt64(index))
      packed.weights[index] = .packed(weights)
      simulated.weights[index] = Self.simulation(weights)
      dequantized.weights[index] = .float(weights.dequantized())
    }
    func logits(_ model: Model) throws -> [Float] {
      try Session(model, context: context, capacity: 30).forward(tokens, lastOnly: false).values
    }
    let (a, b, c) = (try logits(packed), try logits(simulated), try logits(dequantized))
    // A rounding difference can move an activation across the edge of an 8-bit step now and then,
    // so the two are not equal to rounding; yet far closer than 8-bit activations are to float.
    #expect(Tiny.distance(b, c) > 1e-3 * Tiny.magnitude(c))
    func meanSquare(_ x: [Float], _ y: [Float]) -> Double {
      zip(x, y).reduce(0) { $0 + Double(($1.0 - $1.1) * ($1.0 - $1.1)) } / Double(x.count)
    }
    #expect(meanSquare(a, b) < 0.02 * meanSquare(b, c))
  }

  @Test("every instruction set gives the same packed forward bits")
  func instructionSetsAgree() throws {
    let model = try Tiny.llama()
    let packed = model.replacingAll(
      with: try RandomPacking.operators(RandomPacking.assignments(for: model)))
    let tokens = Tiny.tokens(21)
    func logits(_ set: InstructionSet) throws -> [UInt32] {
      let session = Session(packed, context: try Tiny.context(threads: 2, set), capacity: 30)
      let prompt = try session.forward(tokens, lastOnly: false).values
      return (prompt + (try session.forward([1], lastOnly: true).values)).map(\.bitPattern)
    }
    print("instruction sets: \(InstructionSet.supported.map(\.rawValue).joined(separator: ", "))")
    let expected = try logits(.scalar)
    for set in InstructionSet.supported { #expect(try logits(set) == expected, "\(set)") }
  }

  @Test("packed BERT operators give what their dequantized weights give")
  func packedBert() throws {
    let model = try Tiny.bert()
    let context = try Tiny.context()
    let sentence = Tiny.tokens(17, vocabulary: 53)
    let format = try #require(WeightFormat(identifier: "int6_g64"))
    for (index, description) in model.operators.enumerated() {
      let packed = RandomPacking.packed(format, description.shape, seed: UInt64(index))
      let a = try Session(
        model.replacing(index, with: .packed(packed)), context: context, capacity: 20
      ).embed(sentence)
      let b = try Session(
        model.replacing(index, with: Self.simulation(packed)), context: context, capacity: 20
      ).embed(sentence)
      #expect(Tiny.distance(a, b) <= 1e-5, "\(description.name)")
    }
  }
}
