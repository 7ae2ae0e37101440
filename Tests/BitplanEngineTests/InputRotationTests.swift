import BitplanCore
import BitplanEngine
import BitplanKernels
import BitplanTestSupport
import Foundation
import Testing

/// Inputs that are turned while the model runs: exact, seen turned by everything that looks on, and
/// the same from a packed file.
struct InputRotationTests {
  static let pool = RotationTests.pool

  /// `model` with the inputs of all layers' `down` turned, each by a seed of its own.
  static func rotated(_ model: Model) throws -> Model {
    try (0..<model.layerCount).reduce(model) {
      try $0.rotatingDownInput(layer: $1, seed: UInt64($1) + 5, pool)
    }
  }

  @Test(
    "tokens are turned as weights are, and back", arguments: [1, 2, 3, 10, 48, 80, 96, 256, 688],
    [1, 2])
  func turnsTokens(_ size: Int, _ threads: Int) {
    var generator = SeededGenerator(state: 8)
    let pool = ThreadPool(threadCount: threads)
    let rotation = Rotation(size: size, seed: 3)
    // More rows than a chunk, and one that must stay as it is.
    let (rows, count) = (70, 69)
    let x = Tiny.matrix(rows, size, scale: 1, &generator)
    let before = x.values
    rotation.turn(x, tokenCount: count, pool)
    let exact = rotation.turningRows(
      of: FloatMatrix(rows: rows, columns: size, values: before), pool
    ).values
    // At most log₂ size additions and a dense matrix of fastSize products, each rounded to 2⁻²⁴ of a
    // row's length, which is at most √size.
    let tolerance = Float(size).squareRoot() * 64 * 0x1p-24
    #expect(
      Tiny.distance(Array(x.values.prefix(count * size)), Array(exact.prefix(count * size)))
        <= tolerance)
    #expect(x.values.suffix(size) == before.suffix(size))
    rotation.turnBack(x, tokenCount: count, pool)
    #expect(Tiny.distance(x.values, before) <= 2 * tolerance)
  }

  /// `P₁ ⊗ P₂` of two random orthogonal matrices.
  static func kronecker(_ slow: Int, _ fast: Int, seed: UInt64 = 4) -> Rotation {
    func matrix(_ size: Int, _ seed: UInt64) -> FloatMatrix {
      FloatMatrix(
        rows: size, columns: size,
        values: RotationTests.matrix(Rotation(size: size, seed: seed)).joined().map { Float($0) })
    }
    return Rotation(slow: matrix(slow, seed), fast: matrix(fast, seed + 1))
  }

  @Test(
    "two given matrices turn as their Kronecker product, weights and tokens alike",
    arguments: [(1, 1), (1, 7), (3, 5), (8, 10), (24, 32)])
  func kroneckerProduct(_ slow: Int, _ fast: Int) throws {
    var generator = SeededGenerator(state: 9)
    let rotation = Self.kronecker(slow, fast)
    let (p1, p2) = try #require(rotation.matrices)
    let size = slow * fast
    let before = Tiny.matrix(5, size, scale: 1, &generator)
    let x = FloatMatrix(rows: 5, columns: size, values: before.values)
    rotation.turn(x, tokenCount: 5, Self.pool)
    let weights = rotation.turningRows(of: before, Self.pool)
    for row in 0..<5 {
      for to in 0..<size {
        let expected = (0..<size).reduce(0.0) { sum, from in
          sum + Double(before[row, from]) * Double(p1[from / fast, to / fast])
            * Double(p2[from % fast, to % fast])
        }
        #expect(abs(Double(x[row, to]) - expected) < 1e-5)
        #expect(abs(Double(weights[row, to]) - expected) < 1e-6)
      }
    }
    rotation.turnBack(x, tokenCount: 5, Self.pool)
    #expect(Tiny.distance(x.values, before.values) < 1e-5)
  }

  @Test("sizes of a Kronecker product are the divisors nearest to the root")
  func kroneckerSizes() {
    for (size, slow, fast) in [(768, 24, 32), (11_008, 86, 128), (14_336, 112, 128), (13, 1, 13)] {
      #expect(Rotation.kroneckerSizes(size).map { [$0.slow, $0.fast] } == [slow, fast])
    }
    #expect(Rotation.kroneckerSizes(1_009) == nil)
  }

  @Test(
    "a Kronecker product at run time changes no logit", arguments: TransformTests.Family.allCases)
  func kroneckerIsExact(_ family: TransformTests.Family) throws {
    let model = try family.model()
    let expected = try TransformTests.logits(model)
    let size = model.operators[try model.downOperator(layer: 0)].shape.inputFeatures
    let sizes = try #require(Rotation.kroneckerSizes(size))
    let rotated = try (0..<model.layerCount).reduce(model) {
      try $0.rotatingDownInput(
        layer: $1, by: Self.kronecker(sizes.slow, sizes.fast, seed: UInt64(3 * $1)), Self.pool)
    }
    #expect(
      Tiny.distance(try TransformTests.logits(rotated), expected) <= TransformTests.tolerance)
    for (name, broken) in try TransformTests.partlyUndone(rotated, model) {
      #expect(Tiny.distance(try TransformTests.logits(broken), expected) > 1e-3, "\(name)")
    }
  }

  @Test("a packed file keeps the matrices of a Kronecker product, and damaged ones are noticed")
  func packedKronecker() throws {
    try PackedCheckpointTests.withFolder { folder in
      let file = folder.appending(path: "tiny.packed.safetensors")
      let model = try Tiny.llama().rotatingDownInput(
        layer: 1, by: Self.kronecker(8, 10), Self.pool)
      let assignments = RandomPacking.assignments(for: model)
      let operators = try RandomPacking.operators(assignments)
      var plan = RandomPacking.plan(model, assignments)
      plan.transforms = [.rotation(.downInput, layer: 1, seed: 5)]
      // The plan must say which form it is.
      #expect(throws: EngineError.self) {
        try PackedCheckpoint.write(path: file.path, plan: plan, model: model, operators: operators)
      }
      plan.transforms = [.kronecker(layer: 1, seed: 5)]
      try PackedCheckpoint.write(path: file.path, plan: plan, model: model, operators: operators)
      func logits(_ model: Model) throws -> [Float] {
        try Session(model, context: try Tiny.context(), capacity: 24)
          .forward(Tiny.tokens(24), lastOnly: false).values
      }
      #expect(
        try logits(try PackedCheckpoint.load(path: file.path))
          == logits(model.replacingAll(with: operators)))

      let skewed = Rotation(
        slow: FloatMatrix(rows: 8, columns: 8, values: [Float](repeating: 0.2, count: 64)),
        fast: Self.kronecker(8, 10).matrices!.fast)
      let damaged = try Tiny.llama().rotatingDownInput(layer: 1, by: skewed, Self.pool)
      try PackedCheckpoint.write(path: file.path, plan: plan, model: damaged, operators: operators)
      #expect { try PackedCheckpoint.load(path: file.path) } throws: {
        "\($0)".contains("not orthogonal")
      }
    }
  }

  @Test("a rotation at run time changes no logit", arguments: TransformTests.Family.allCases)
  func isExact(_ family: TransformTests.Family) throws {
    let model = try family.model()
    let expected = try TransformTests.logits(model)
    let rotated = try Self.rotated(model)
    #expect(
      Tiny.distance(try TransformTests.logits(rotated), expected) <= TransformTests.tolerance)
    #expect(rotated.identity == model.identity)
    let undone = try TransformTests.partlyUndone(rotated, model)
    #expect(undone.count == model.layerCount + 1)
    for (name, broken) in undone {
      #expect(Tiny.distance(try TransformTests.logits(broken), expected) > 1e-3, "\(name)")
    }
  }

  @Test("one token at a time gives the logits of all together")
  func decodes() throws {
    let rotated = try Self.rotated(try Tiny.llama())
    let tokens = Tiny.tokens(9)
    let session = Session(rotated, context: try Tiny.context(), capacity: 9)
    let together = try session.forward(tokens, lastOnly: false).values
    session.reset()
    var alone: [Float] = []
    for token in tokens { alone += try session.forward([token], lastOnly: true).values }
    #expect(Tiny.distance(alone, together) <= 1e-5)
  }

  @Test("a session that is given another model turns by that one's rotations")
  func replacesModels() throws {
    let model = try Tiny.llama()
    let tokens = Tiny.tokens(9)
    let session = Session(model, context: try Tiny.context(), capacity: 9)
    let plain = try session.forward(tokens, lastOnly: false).values
    session.model = try Self.rotated(model)
    #expect(Tiny.distance(try session.forward(tokens, lastOnly: false).values, plain) <= 1e-4)
    session.model = model
    #expect(try session.forward(tokens, lastOnly: false).values == plain)
  }

  @Test("an encoder's second projection can read a turned input")
  func encoders() throws {
    let model = try Tiny.bert()
    let tokens = Tiny.tokens(20, vocabulary: 53)
    func embedding(_ model: Model) throws -> [Float] {
      try Session(model, context: try Tiny.context(), capacity: 20).embed(tokens)
    }
    let expected = try embedding(model)
    let rotated = try Self.rotated(model)
    #expect(Tiny.distance(try embedding(rotated), expected) <= 1e-5)
    for (name, broken) in try TransformTests.partlyUndone(rotated, model) {
      #expect(Tiny.distance(try embedding(broken), expected) > 1e-4, "\(name)")
    }
  }

  @Test("observers and gradients see the turned input, and the rest is as before")
  func observes() throws {
    let model = try Tiny.llama(biases: true)
    let rotated = try Self.rotated(model)
    let tokens = Tiny.tokens(24)
    let down = try model.downOperator(layer: 1)
    struct Seen {
      var input: [Float] = []
      var gradient: [Float] = []
    }
    func gather(_ model: Model) throws -> [Int: Seen] {
      var seen: [Int: Seen] = [:]
      let pass = BackwardPass(model, context: try Tiny.context(), capacity: 24)
      try pass.run(tokens, labels: .next) { gradient in
        let (output, count) = (gradient.outputGradient, gradient.tokenCount)
        var input: [Float] = []
        if case .product(let matrix) = gradient.use {
          input = Array(matrix.values.prefix(count * matrix.columns))
        }
        seen[gradient.operatorIndex] = Seen(
          input: input, gradient: Array(output.values.prefix(count * output.columns)))
      }
      return seen
    }
    let (plain, turned) = (try gather(model), try gather(rotated))
    for index in model.operators.indices {
      // The output of every operator is what it was, so its gradient is too; all lower layers' depend
      // on the gradient being turned back.
      let (found, known) = (try #require(turned[index]), try #require(plain[index]))
      #expect(
        BackwardTests.relativeError(found.gradient, known.gradient) < 1e-4,
        "\(model.operators[index].name)")
    }
    let input = try #require(plain[down]?.input)
    let size = model.operators[down].shape.inputFeatures
    let expected = Rotation(size: size, seed: 6)
      .turningRows(of: FloatMatrix(rows: 24, columns: size, values: input), Self.pool).values
    let found = try #require(turned[down]?.input)
    #expect(BackwardTests.relativeError(found, expected) < 1e-5)
    #expect(BackwardTests.relativeError(found, input) > 0.1)
  }

  @Test("what writes a turned input cannot be scaled, and nothing is turned twice")
  func refuses() throws {
    let model = try Tiny.llama()
    let rotated = try model.rotatingDownInput(layer: 1, seed: 1, Self.pool)
    let up = rotated.scalingSlots.filter { $0.slot == .up }
    #expect(up.map(\.layer) == [0])
    #expect(throws: EngineError.self) {
      try rotated.rotatingDownInput(layer: 1, seed: 2, Self.pool)
    }
    for layer in [-1, 2] {
      #expect(throws: EngineError.self) {
        try model.rotatingDownInput(layer: layer, seed: 1, Self.pool)
      }
    }
    let odd = try Tiny.model(
      Llama(
        Decoder(
          vocabularySize: 11, width: 8, intermediateSize: 1_026, layerCount: 1, headCount: 1,
          keyValueHeadCount: 1, headSize: 8, maximumTokens: 8)))
    #expect(!odd.canRotateDownInput)
    #expect { try odd.rotatingDownInput(layer: 0, seed: 1, Self.pool) } throws: {
      "\($0)".contains("odd factor")
    }
  }

  @Test("a packed file turns inputs as its plan says, to the same bits")
  func packed() throws {
    try PackedCheckpointTests.withFolder { folder in
      let file = folder.appending(path: "tiny.packed.safetensors").path
      let model = try Self.rotated(try Tiny.llama())
      let assignments = RandomPacking.assignments(for: model)
      let operators = try RandomPacking.operators(assignments)
      var plan = RandomPacking.plan(model, assignments)
      // A model that turns inputs and a plan that does not say so do not belong together.
      #expect(throws: EngineError.self) {
        try PackedCheckpoint.write(path: file, plan: plan, model: model, operators: operators)
      }
      plan.transforms = (0..<2).map { .rotation(.downInput, layer: $0, seed: UInt64($0) + 5) }
      try PackedCheckpoint.write(path: file, plan: plan, model: model, operators: operators)
      let loaded = try PackedCheckpoint.load(path: file)
      func logits(_ model: Model) throws -> [Float] {
        try Session(model, context: try Tiny.context(), capacity: 24)
          .forward(Tiny.tokens(24), lastOnly: false).values
      }
      let expected = try logits(model.replacingAll(with: operators))
      #expect(try logits(loaded) == expected)
      // Forgetting the rotation is not the same.
      let plain = try Tiny.llama().replacingAll(with: operators)
      #expect(Tiny.distance(try logits(plain), expected) > 1e-3)
      plan.transforms = [.rotation(.downInput, layer: 7, seed: 1)]
      #expect(throws: EngineError.self) {
        try PackedCheckpoint.write(path: file, plan: plan, model: model, operators: operators)
      }
    }
  }
}
