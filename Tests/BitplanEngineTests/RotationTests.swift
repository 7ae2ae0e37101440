import BitplanCheckpoint
import BitplanCore
import BitplanEngine
import BitplanKernels
import BitplanTestSupport
import Foundation
import Testing

/// Rotations are orthogonal, spread outliers, and cancel exactly in a model.
struct RotationTests {
  static let pool = ThreadPool(threadCount: 2)

  /// `R` by turning unit vectors: row `i` is `e_i · R`.
  static func matrix(_ rotation: Rotation) -> [[Double]] {
    (0..<rotation.size).map { index in
      var row = [Double](repeating: 0, count: rotation.size)
      row[index] = 1
      rotation.apply(to: &row)
      return row
    }
  }

  @Test(
    "R · Rᵀ is the identity at any size, powers of two or not",
    arguments: [1, 2, 3, 10, 48, 80, 96, 128, 256, 768])
  func isOrthogonal(_ size: Int) {
    let rows = Self.matrix(Rotation(size: size, seed: 9))
    var worst = 0.0
    for i in 0..<size {
      for j in i..<size {
        let product = zip(rows[i], rows[j]).reduce(0) { $0 + $1.0 * $1.1 }
        worst = max(worst, abs(product - (i == j ? 1 : 0)))
      }
    }
    // Each row is a sum of at most 768 doubles of magnitude below 1.
    #expect(worst < 1e-12)
  }

  @Test("at a power of two every entry has the same magnitude, so an outlier is spread evenly")
  func spreadsEvenly() {
    for row in Self.matrix(Rotation(size: 64, seed: 2)) {
      #expect(row.allSatisfy { abs(abs($0) - 0.125) < 1e-15 })
    }
  }

  @Test("seeds differ, and the same seed gives the same matrix")
  func isSeeded() {
    let first = Self.matrix(Rotation(size: 12, seed: 1))
    #expect(first == Self.matrix(Rotation(size: 12, seed: 1)))
    #expect(first != Self.matrix(Rotation(size: 12, seed: 2)))
    // The first sign is the lowest bit of the generator's first word, so that files stay readable.
    var row = [1.0, 0, 0, 0]
    Rotation(size: 4, seed: 1).apply(to: &row)
    #expect(row.map(abs) == [0.5, 0.5, 0.5, 0.5])
    var generator = SeededGenerator(state: 1)
    #expect((row[0] > 0) == (generator.next() & 1 == 0))
  }

  @Test("rows and columns of matrices are turned piece by piece")
  func turnsMatrices() {
    var generator = SeededGenerator(state: 4)
    let rotation = Rotation(size: 6, seed: 3)
    let r = Self.matrix(rotation)
    let wide = Tiny.matrix(5, 12, scale: 1, &generator)
    let tall = Tiny.matrix(12, 5, scale: 1, &generator)
    let rows = rotation.turningRows(of: wide, Self.pool)
    let columns = rotation.turningColumns(of: tall, Self.pool)
    for line in 0..<5 {
      for place in 0..<12 {
        let piece = place / 6 * 6
        let ofRow = (0..<6).reduce(0.0) { $0 + Double(wide[line, piece + $1]) * r[$1][place % 6] }
        let ofColumn = (0..<6).reduce(0.0) {
          $0 + Double(tall[piece + $1, line]) * r[$1][place % 6]
        }
        #expect(abs(Double(rows[line, place]) - ofRow) < 1e-6)
        #expect(abs(Double(columns[place, line]) - ofColumn) < 1e-6)
      }
    }
  }

  @Test("turning the residual stream changes no logit", arguments: TransformTests.Family.allCases)
  func residualIsExact(_ family: TransformTests.Family) throws {
    let model = try family.model()
    let expected = try TransformTests.logits(model)
    let rotated = try model.rotatingResidual(seed: 5, Self.pool)
    #expect(
      Tiny.distance(try TransformTests.logits(rotated), expected) <= TransformTests.tolerance)
    #expect(rotated.identity == model.identity)
    let undone = try TransformTests.partlyUndone(rotated, model)
    // Everything but biases that do not write the stream takes part.
    #expect(undone.count >= model.operators.count + 2 * model.layerCount + 1)
    for (name, broken) in undone {
      #expect(Tiny.distance(try TransformTests.logits(broken), expected) > 1e-3, "\(name)")
    }
  }

  @Test("turning values head by head changes no logit", arguments: TransformTests.Family.allCases)
  func valuesAreExact(_ family: TransformTests.Family) throws {
    let model = try family.model()
    let expected = try TransformTests.logits(model)
    let rotated = try model.rotatingValues(layer: 1, seed: 5, Self.pool)
    #expect(
      Tiny.distance(try TransformTests.logits(rotated), expected) <= TransformTests.tolerance)
    let undone = try TransformTests.partlyUndone(rotated, model)
    #expect(undone.count >= 2)
    for (name, broken) in undone {
      #expect(Tiny.distance(try TransformTests.logits(broken), expected) > 1e-3, "\(name)")
    }
    #expect(throws: EngineError.self) {
      try model.rotatingValues(layer: 2, seed: 5, Self.pool)
    }
  }

  @Test("an encoder's values can be turned, its residual stream cannot")
  func encoders() throws {
    let model = try Tiny.bert()
    let tokens = Tiny.tokens(20, vocabulary: 53)
    func embedding(_ model: Model) throws -> [Float] {
      try Session(model, context: try Tiny.context(), capacity: 20).embed(tokens)
    }
    let expected = try embedding(model)
    let rotated = try model.rotatingValues(layer: 0, seed: 1, Self.pool)
    #expect(Tiny.distance(try embedding(rotated), expected) <= 1e-5)
    for (name, broken) in try TransformTests.partlyUndone(rotated, model) {
      #expect(Tiny.distance(try embedding(broken), expected) > 1e-4, "\(name)")
    }
    #expect(throws: EngineError.self) { try model.rotatingResidual(seed: 1, Self.pool) }
  }

  @Test("a head that is the embedding table cannot take the last norm's gain")
  func refusesTiedHead() throws {
    let model = try Tiny.llama(tied: true)
    #expect(throws: EngineError.self) { try model.rotatingResidual(seed: 1, Self.pool) }
  }

  @Test("all transforms together leave the trained Llama's logits as they are")
  func trainedLlama() throws {
    let model = try Model.load(Checkpoint(path: Fixtures.docsLlama.path))
    let tokens = Tiny.tokens(48, vocabulary: model.vocabularySize)
    func logits(_ model: Model) throws -> [Float] {
      try Session(model, context: try Tiny.context(), capacity: 48)
        .forward(tokens, lastOnly: false).values
    }
    let expected = try logits(model)
    var changed = try model.rotatingResidual(seed: 7, Self.pool)
    for layer in 0..<model.layerCount {
      changed = try changed.rotatingValues(layer: layer, seed: 8, Self.pool)
    }
    #expect(Tiny.distance(try logits(changed), expected) <= TransformTests.tolerance)
    for (index, slot) in changed.scalingSlots.enumerated() {
      changed = try changed.scaled(
        slot, by: TransformTests.factors(slot.factorCount, seed: UInt64(index)))
    }
    #expect(Tiny.distance(try logits(changed), expected) <= TransformTests.tolerance)
  }
}
