import BitplanCore
import BitplanEngine
import BitplanKernels
import Testing

struct SessionTests {
  /// Two orders of the same float sums: a logit is a sum of 48 products after two layers of such
  /// sums; rounding errors of 2⁻²⁴ grow far less than a thousandfold on the way.
  static let rounding: Float = 1e-4

  @Test("token by token gives the logits of the whole prompt", arguments: [false, true])
  func cacheEqualsWhole(_ biases: Bool) throws {
    let model = try Tiny.llama(biases: biases)
    let context = try Tiny.context()
    let tokens = Tiny.tokens(40)
    let whole = try Session(model, context: context, capacity: 40).forward(tokens, lastOnly: false)
    let session = Session(model, context: context, capacity: 40)
    for (position, token) in tokens.enumerated() {
      let logits = try session.forward([token], lastOnly: true).values
      let expected = Array(whole.values[position * 61..<(position + 1) * 61])
      #expect(Tiny.distance(logits, expected) <= Self.rounding)
      #expect(session.position == position + 1)
    }
  }

  @Test("a prompt longer than a chunk equals two calls, and lastOnly equals its last row")
  func chunksEqualWhole() throws {
    let model = try Tiny.llama()
    let context = try Tiny.context()
    let tokens = Tiny.tokens(650)
    let session = Session(model, context: context, capacity: 700)
    let long = try session.forward(tokens, lastOnly: false).values
    #expect(long.count == 650 * 61)

    session.reset()
    let head = try session.forward(Array(tokens.prefix(300)), lastOnly: false).values
    let tail = try session.forward(Array(tokens.dropFirst(300)), lastOnly: false).values
    #expect(Tiny.distance(long, head + tail) <= Self.rounding)

    session.reset()
    let last = try session.forward(tokens, lastOnly: true)
    #expect(last.rows == 1)
    #expect(Tiny.distance(last.values, Array(long.suffix(61))) <= Self.rounding)
  }

  @Test("later tokens change no earlier logits")
  func isCausal() throws {
    let model = try Tiny.llama()
    let context = try Tiny.context()
    var tokens = Tiny.tokens(70)
    let session = Session(model, context: context, capacity: 70)
    let first = try session.forward(tokens, lastOnly: false).values
    tokens[69] = (tokens[69] + 1) % 61
    session.reset()
    let second = try session.forward(tokens, lastOnly: false).values
    #expect(first.prefix(69 * 61) == second.prefix(69 * 61))
    #expect(first.suffix(61) != second.suffix(61))
  }

  @Test("any number of threads gives the same bits", arguments: [1, 3, 4])
  func threadsAgree(_ threads: Int) throws {
    let model = try Tiny.llama(vocabulary: 301)
    let tokens = Tiny.tokens(300, vocabulary: 301)
    func logits(_ threads: Int) throws -> [UInt32] {
      let session = Session(model, context: try Tiny.context(threads: threads), capacity: 310)
      let prompt = try session.forward(tokens, lastOnly: false).values
      return (prompt + (try session.forward([5], lastOnly: true).values)).map(\.bitPattern)
    }
    #expect(try logits(threads) == logits(2))

    let bert = try Tiny.bert()
    let sentence = Tiny.tokens(80, vocabulary: 53)
    func embedding(_ threads: Int) throws -> [UInt32] {
      try Session(bert, context: try Tiny.context(threads: threads), capacity: 80).embed(sentence)
        .map(\.bitPattern)
    }
    #expect(try embedding(threads) == embedding(2))
  }

  @Test("tied weights are head and table at once")
  func tiedHead() throws {
    let tied = try Tiny.llama(tied: true)
    #expect(tied.operators.count == 15)
    #expect(tied.operators[0].role == .tiedEmbedding)
    let untied = try Tiny.llama(tied: false)
    var copy = untied
    for index in tied.weights.indices { copy.weights[index] = tied.weights[index] }
    copy.weights[15] = tied.weights[0]
    let context = try Tiny.context()
    let tokens = Tiny.tokens(9)
    let vectors = try Model(
      untied.architecture, name: "tiny", sha256: "0", weights: copy.weights,
      vectors: tied.vectors, configurationText: "{}")
    let a = try Session(tied, context: context, capacity: 9).forward(tokens, lastOnly: false).values
    let b = try Session(vectors, context: context, capacity: 9).forward(tokens, lastOnly: false)
    #expect(a == b.values)
  }

  @Test("a pass restarted from any layer gives the whole pass's bits")
  func restartsFromLayer() throws {
    let model = try Tiny.llama(layers: 3)
    let context = try Tiny.context()
    let tokens = Tiny.tokens(600)
    let session = Session(model, context: context, capacity: 600)
    let expected = try session.forward(tokens, lastOnly: false).values
    for layer in 0...3 {
      let states = try session.hiddenStates(of: tokens, beforeLayer: layer)
      let logits = try session.forward(from: states, beforeLayer: layer, lastOnly: false)
      #expect(logits.values == expected)
      #expect(session.position == 0)
    }
    let bert = try Tiny.bert()
    let sentence = Tiny.tokens(30, vocabulary: 53)
    let encoder = Session(bert, context: context, capacity: 90)
    let embedding = try encoder.embed(sentence)
    for layer in 0...2 {
      let states = try encoder.hiddenStates(of: sentence, beforeLayer: layer)
      #expect(try encoder.embed(from: states, beforeLayer: layer) == embedding)
    }
  }

  @Test(
    "layers run one by one on kept states, and logits made in blocks, are those of a whole pass")
  func sweepsLayers() throws {
    let model = try Tiny.llama(layers: 3)
    let context = try Tiny.context()
    let tokens = Tiny.tokens(300)
    let session = Session(model, context: context, capacity: 300)
    let last = try session.hiddenStates(of: tokens, beforeLayer: 3).values
    let states = try session.hiddenStates(of: tokens, beforeLayer: 0)
    for layer in 0..<3 { try session.run(layer: layer, on: states) }
    #expect(states.values == last)
    let whole = try session.forward(tokens, lastOnly: false)
    var seen = 0
    try session.forEachLogits(of: states) { block, logits in
      #expect(block.lowerBound == seen && block.count <= Session.logitBlock)
      seen = block.upperBound
      for (row, token) in block.enumerated() {
        for id in 0..<model.vocabularySize {
          // Sums of at most a hundred products in another order.
          #expect(abs(logits[row, id] - whole[token, id]) <= 1e-4)
        }
      }
    }
    #expect(seen == tokens.count)
  }

  @Test("a session runs another model's weights after assignment, and forgets the sequence")
  func swapsModels() throws {
    let context = try Tiny.context()
    let (first, second) = (try Tiny.llama(seed: 1), try Tiny.llama(seed: 2))
    let tokens = Tiny.tokens(12)
    let session = Session(first, context: context, capacity: 20)
    _ = try session.forward(tokens, lastOnly: true)
    session.model = second
    #expect(session.position == 0)
    let swapped = try session.forward(tokens, lastOnly: false).values
    let fresh = try Session(second, context: context, capacity: 20).forward(tokens, lastOnly: false)
    #expect(swapped == fresh.values)

    let replaced = first.replacing(3, with: second.weights[3])
    session.model = replaced
    #expect(try session.forward(tokens, lastOnly: false).values != swapped)
  }

  @Test("the observer sees every product in order with its input")
  func observesProducts() throws {
    let model = try Tiny.llama()
    let session = Session(model, context: try Tiny.context(), capacity: 20)
    var seen: [Int] = []
    session.observer = { index, input, count in
      seen.append(index)
      #expect(count == (index == 15 ? 1 : 6))
      #expect(input.values.columns == model.operators[index].shape.inputFeatures)
      #expect(input.tokenCount == count)
    }
    _ = try session.forward(Tiny.tokens(6), lastOnly: true)
    #expect(seen == Array(1...15))
    #expect(
      (0..<16).map(model.inputSource) == [0, 1, 1, 1, 4, 5, 5, 7, 8, 8, 8, 11, 12, 12, 14, 15])
  }

  @Test("rewinding continues a sequence differently")
  func rewinds() throws {
    let session = Session(try Tiny.llama(), context: try Tiny.context(), capacity: 20)
    let tokens = Tiny.tokens(10)
    _ = try session.forward(Array(tokens.prefix(6)), lastOnly: true)
    let expected = try session.forward([9], lastOnly: true).values
    _ = try session.forward([4, 4], lastOnly: true)
    session.rewind(to: 6)
    #expect(try session.forward([9], lastOnly: true).values == expected)
  }

  @Test("wrong calls are errors that say the numbers, and change nothing")
  func refusesWrongCalls() throws {
    let model = try Tiny.llama(maximumTokens: 32)
    let context = try Tiny.context()
    let session = Session(model, context: context, capacity: 100)
    #expect(session.capacity == 32)
    _ = try session.forward(Tiny.tokens(30), lastOnly: true)
    func message(_ body: () throws -> Void) -> String {
      do {
        try body()
        return ""
      } catch { return "\(error)" }
    }
    let overflow = message { _ = try session.forward([1, 2, 3], lastOnly: true) }
    #expect(overflow.contains("3 tokens after 30 make 33") && overflow.contains("holds 32"))
    #expect(session.position == 30)
    #expect(message { _ = try session.forward([], lastOnly: true) }.contains("no tokens"))
    #expect(message { _ = try session.forward([61], lastOnly: true) }.contains("61 is outside"))
    #expect(message { _ = try session.forward([-1], lastOnly: true) }.contains("-1 is outside"))
    #expect(message { _ = try session.embed([1]) }.contains("language model"))
    let encoder = Session(try Tiny.bert(), context: context, capacity: 10)
    #expect(message { _ = try encoder.forward([1], lastOnly: true) }.contains("encoder"))
    #expect(
      message { _ = try encoder.embed(Tiny.tokens(11, vocabulary: 53)) }.contains("11 tokens"))
  }

  @Test("logits that are not finite are an error", arguments: [Float.nan, .infinity, 3e38])
  func refusesNonFinite(_ value: Float) throws {
    let model = try Tiny.llama()
    let head = FloatMatrix(rows: 61, columns: 48, values: model.floatWeights(of: 15).values)
    for column in 0..<48 { head[60, column] = column % 2 == 0 ? value : -value }
    let broken = model.replacing(15, with: .float(head))
    let session = Session(broken, context: try Tiny.context(), capacity: 8)
    #expect(throws: EngineError.self) { try session.forward([1, 2], lastOnly: true) }
    #expect(session.position == 0)
  }

  @Test("models are refused when counts or shapes disagree with the architecture")
  func refusesWrongShapes() throws {
    let model = try Tiny.llama()
    var weights = model.weights
    weights[2] = weights[1]
    #expect(throws: EngineError.self) {
      try Model(
        model.architecture, name: "", sha256: "", weights: weights, vectors: model.vectors,
        configurationText: "")
    }
    #expect(throws: EngineError.self) {
      try Model(
        model.architecture, name: "", sha256: "", weights: Array(model.weights.dropLast()),
        vectors: model.vectors, configurationText: "")
    }
    #expect(throws: EngineError.self) {
      try Model(
        model.architecture, name: "", sha256: "", weights: model.weights,
        vectors: Array(model.vectors.dropLast()), configurationText: "")
    }
    #expect(throws: EngineError.self) {
      try Model(
        model.architecture, name: "", sha256: "", weights: model.weights,
        vectors: model.vectors.dropLast() + [FloatMatrix(rows: 1, columns: 47)],
        configurationText: "")
    }
    #expect(model.endTokens == [3, 5])
    let other = try Tiny.llama(layers: 3)
    #expect(model.architectureSHA256 != other.architectureSHA256)
    #expect(model.architectureSHA256 == (try Tiny.llama(seed: 99)).architectureSHA256)
  }
}
