import BitplanCheckpoint
import BitplanCore
import BitplanEngine
import BitplanKernels
import BitplanTestSupport
import Testing

/// Equivalence transforms leave the function as it is, and every part of each is needed for that.
struct TransformTests {
  /// What the transforms are held to.
  static let tolerance: Float = 1e-4

  /// Small models of every kind that is transformed.
  enum Family: String, CaseIterable, Sendable {
    /// `biasedQuery` has the biases of a Qwen2: query, key and value only.
    case llama, biasedLlama, biasedQuery, manyHeads

    func model() throws -> Model {
      switch self {
      case .llama: try Tiny.llama()
      case .biasedLlama: try Tiny.llama(biases: true)
      case .biasedQuery:
        try Tiny.model(
          Llama(
            Decoder(
              vocabularySize: 61, width: 56, intermediateSize: 72, layerCount: 2, headCount: 7,
              keyValueHeadCount: 1, headSize: 8, maximumTokens: 64, queryKeyValueBias: true)))
      case .manyHeads:
        try Tiny.model(
          Llama(
            Decoder(
              vocabularySize: 61, width: 64, intermediateSize: 96, layerCount: 2, headCount: 4,
              keyValueHeadCount: 4, headSize: 16, maximumTokens: 64)))
      }
    }
  }

  static func logits(_ model: Model) throws -> [Float] {
    try Session(model, context: try Tiny.context(), capacity: 24)
      .forward(Tiny.tokens(24), lastOnly: false).values
  }

  /// Factors between a quarter and four, no two alike.
  static func factors(_ count: Int, seed: UInt64) -> [Float] {
    var generator = SeededGenerator(state: seed)
    return (0..<count).map { _ in
      let value = Float.random(in: 0.25...1, using: &generator)
      return Bool.random(using: &generator) ? value : 1 / value
    }
  }

  /// Every tensor that differs in storage, put back one at a time, and what is done at run time left
  /// out.
  static func partlyUndone(_ changed: Model, _ original: Model) throws -> [(String, Model)] {
    var result: [(String, Model)] = []
    for index in original.weights.indices
    where changed.floatWeights(of: index) !== original.floatWeights(of: index) {
      var weights = changed.weights
      weights[index] = original.weights[index]
      let model = try Model(
        original.architecture, name: "", sha256: "", weights: weights, vectors: changed.vectors,
        inputRotations: changed.inputRotations, configurationText: original.configurationText)
      result.append((original.operators[index].name, model))
    }
    for index in original.vectors.indices where changed.vectors[index] !== original.vectors[index] {
      var vectors = changed.vectors
      vectors[index] = original.vectors[index]
      let model = try Model(
        original.architecture, name: "", sha256: "", weights: changed.weights, vectors: vectors,
        inputRotations: changed.inputRotations, configurationText: original.configurationText)
      result.append((original.architecture.vectors[index].name, model))
    }
    if !changed.inputRotations.isEmpty {
      let model = try Model(
        original.architecture, name: "", sha256: "", weights: changed.weights,
        vectors: changed.vectors, configurationText: original.configurationText)
      result.append(("rotations at run time", model))
    }
    return result
  }

  // MARK: Scaling

  @Test("scaling any slot by any factors changes no logit", arguments: Family.allCases)
  func scalingIsExact(_ family: Family) throws {
    let model = try family.model()
    let expected = try Self.logits(model)
    #expect(model.scalingSlots.count == 5 * model.layerCount)
    var all = model
    for (index, slot) in model.scalingSlots.enumerated() {
      let factors = Self.factors(slot.factorCount, seed: UInt64(index))
      let scaled = try model.scaled(slot, by: factors)
      #expect(Tiny.distance(try Self.logits(scaled), expected) <= Self.tolerance, "\(slot.slot)")
      all = try all.scaled(slot, by: factors)
    }
    #expect(Tiny.distance(try Self.logits(all), expected) <= Self.tolerance)
    #expect(all.identity == model.identity)
  }

  @Test(
    "a scaling that leaves out one of its tensors changes the logits", arguments: Family.allCases)
  func scalingNeedsEveryPart(_ family: Family) throws {
    let model = try family.model()
    let expected = try Self.logits(model)
    for slot in model.scalingSlots where slot.layer == 1 {
      let scaled = try model.scaled(slot, by: Self.factors(slot.factorCount, seed: 5))
      let undone = try Self.partlyUndone(scaled, model)
      let least: [EquivalenceTransform.Slot: Int] = [.attentionInput: 4, .mlpInput: 3]
      #expect(undone.count >= least[slot.slot] ?? 2)
      for (name, broken) in undone {
        #expect(Tiny.distance(try Self.logits(broken), expected) > 1e-3, "\(slot.slot): \(name)")
      }
    }
  }

  @Test("the two features of a rotary pair must share a factor")
  func rotaryPairsAreTied() throws {
    let model = try Tiny.llama()
    let expected = try Self.logits(model)
    // Layer 0, key head 0 serves query heads 0 and 1; features i and i + 5 form a pair.
    func scaled(features: [Int]) throws -> [Float] {
      let (query, key) = (
        try #require(model.operatorIndex(named: "model.layers.0.self_attn.q_proj")),
        try #require(model.operatorIndex(named: "model.layers.0.self_attn.k_proj"))
      )
      let queries = FloatMatrix(rows: 40, columns: 48, values: model.floatWeights(of: query).values)
      let keys = FloatMatrix(rows: 20, columns: 48, values: model.floatWeights(of: key).values)
      for feature in features {
        for column in 0..<48 {
          keys[feature, column] /= 3
          queries[feature, column] *= 3
          queries[10 + feature, column] *= 3
        }
      }
      return try Self.logits(
        model.replacing(query, with: .float(queries)).replacing(key, with: .float(keys)))
    }
    #expect(Tiny.distance(try scaled(features: [2, 7]), expected) <= Self.tolerance)
    #expect(Tiny.distance(try scaled(features: [2]), expected) > 1e-3)
  }

  @Test("query heads that share a value head must share its factors")
  func groupedValuesAreTied() throws {
    let model = try Tiny.llama()
    let expected = try Self.logits(model)
    func scaled(queryHeads: [Int]) throws -> [Float] {
      let value = try #require(model.operatorIndex(named: "model.layers.0.self_attn.v_proj"))
      let output = try #require(model.operatorIndex(named: "model.layers.0.self_attn.o_proj"))
      let values = FloatMatrix(rows: 20, columns: 48, values: model.floatWeights(of: value).values)
      let outputs = FloatMatrix(
        rows: 48, columns: 40, values: model.floatWeights(of: output).values)
      for column in 0..<48 { values[3, column] /= 3 }
      for head in queryHeads {
        for row in 0..<48 { outputs[row, head * 10 + 3] *= 3 }
      }
      return try Self.logits(
        model.replacing(value, with: .float(values)).replacing(output, with: .float(outputs)))
    }
    #expect(Tiny.distance(try scaled(queryHeads: [0, 1]), expected) <= Self.tolerance)
    #expect(Tiny.distance(try scaled(queryHeads: [0]), expected) > 1e-3)
  }

  @Test("an encoder is scaled where that is exact: values, and queries against keys")
  func scalesEncoders() throws {
    let model = try Tiny.bert()
    let tokens = Tiny.tokens(20, vocabulary: 53)
    func embedding(_ model: Model) throws -> [Float] {
      try Session(model, context: try Tiny.context(), capacity: 20).embed(tokens)
    }
    let expected = try embedding(model)
    #expect(Set(model.scalingSlots.map(\.slot)) == [.value, .queryKey])
    var all = model
    for slot in model.scalingSlots {
      let scaled = try model.scaled(slot, by: Self.factors(slot.factorCount, seed: 3))
      all = try all.scaled(slot, by: Self.factors(slot.factorCount, seed: 4))
      #expect(Tiny.distance(try embedding(scaled), expected) <= 1e-5)
      for (name, broken) in try Self.partlyUndone(scaled, model)
      // A key's bias adds the same to all scores of a query, which softmax does not see.
      where !name.hasSuffix("key.bias") {
        #expect(Tiny.distance(try embedding(broken), expected) > 1e-4, "\(name)")
      }
    }
    #expect(Tiny.distance(try embedding(all), expected) <= 1e-5)
  }

  @Test(
    "factors that are not positive and finite are refused",
    arguments: [0, -1, Float.nan, .infinity])
  func refusesBadFactors(_ value: Float) throws {
    let model = try Tiny.llama()
    let slot = try #require(model.scalingSlots.first)
    var factors = [Float](repeating: 1, count: slot.factorCount)
    factors[7] = value
    #expect(throws: EngineError.self) { try model.scaled(slot, by: factors) }
  }

  @Test("packed weights are refused")
  func refusesPacked() throws {
    let model = try Tiny.llama()
    let format = try #require(WeightFormat(identifier: "int4_g32"))
    let packed = model.replacing(
      1, with: .packed(RandomPacking.packed(format, model.operators[1].shape, seed: 1)))
    let slot = try #require(packed.scalingSlots.first)
    let factors = [Float](repeating: 2, count: slot.factorCount)
    #expect(throws: EngineError.self) { try packed.scaled(slot, by: factors) }
    let pool = ThreadPool(threadCount: 1)
    #expect(throws: EngineError.self) { try packed.rotatingResidual(seed: 1, pool) }
  }

  @Test("a producer's magnitudes do not depend on the position")
  func magnitudesOfPairs() throws {
    let model = try Tiny.llama(biases: true)
    let slot = try #require(model.scalingSlots.first { $0.slot == .queryKey && $0.layer == 1 })
    var generator = SeededGenerator(state: 1)
    let inputs = Tiny.matrix(3, 48, scale: 1, &generator)
    let found = model.producedMagnitudes(slot, inputs: inputs, ThreadPool(threadCount: 2))
    let producer = try #require(slot.producer)
    #expect(model.operators[producer].name == "model.layers.1.self_attn.k_proj")
    let weights = model.floatWeights(of: producer)
    let place = try #require(
      model.architecture.vectors.firstIndex { $0.name == "model.layers.1.self_attn.k_proj.bias" })
    let bias = model.vectors[place]
    for row in 0..<3 {
      for head in 0..<2 {
        for pair in 0..<5 {
          let squares = [pair, pair + 5].map { feature -> Double in
            let output = head * 10 + feature
            let sum = (0..<48).reduce(Double(bias[0, output])) {
              $0 + Double(inputs[row, $1]) * Double(weights[output, $1])
            }
            return sum * sum
          }
          let expected = (squares[0] + squares[1]).squareRoot()
          #expect(abs(Double(found[row, head * 5 + pair]) - expected) <= 1e-5)
        }
      }
    }
  }
}
