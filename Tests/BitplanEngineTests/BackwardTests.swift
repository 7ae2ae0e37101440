import BitplanCheckpoint
import BitplanCore
import BitplanEngine
import BitplanKernels
import BitplanTestSupport
import Foundation
import Testing

struct BackwardTests {
  /// `|a − b| / |b|` over all elements, or infinity where the counts differ.
  static func relativeError(_ a: [Float], _ b: [Float]) -> Double {
    guard a.count == b.count else { return .infinity }
    var (error, size) = (0.0, 0.0)
    for (x, y) in zip(a, b) {
      error += (Double(x) - Double(y)) * (Double(x) - Double(y))
      size += Double(y) * Double(y)
    }
    return size > 0 ? (error / size).squareRoot() : error.squareRoot()
  }

  /// Compares every parameter's gradient with PyTorch's float64.
  static func compare(
    _ gradients: ParameterGradients, _ model: Model, file: String
  ) throws {
    let golden = try Checkpoint(path: GoldenTests.golden.appending(path: file).path)
    func expected(_ name: String, _ shape: [Int]) throws -> [Float] {
      let known = golden.contains(name) ? name : name.replacing("bert.", with: "")
      return try golden.floats(known, shape: shape)
    }
    for (index, description) in model.operators.enumerated() {
      let shape = description.shape
      let error = relativeError(
        gradients.weights[index].values,
        try expected(description.name + ".weight", [shape.outputFeatures, shape.inputFeatures]))
      #expect(error < 1e-4, "\(description.name)")
    }
    #expect(gradients.vectors.count == model.architecture.vectors.count)
    for description in model.architecture.vectors {
      let values = try expected(description.name, description.shape)
      let found = try #require(gradients.vectors[description.name])
      // A key's bias moves all scores of a query alike, so its true gradient is 0 and only rounding
      // is left of it.
      let isZero = Tiny.magnitude(values) < 1e-9
      #expect(
        isZero ? Tiny.magnitude(found) < 1e-5 : Self.relativeError(found, values) < 1e-4,
        "\(description.name)")
    }
  }

  @Test("the tiny Llama's gradients are PyTorch's, for every parameter")
  func llamaGolden() throws {
    let model = try GoldenTests.model(GoldenTests.golden.appending(path: "tiny-llama"))
    let prompt = try #require(try GoldenTests.json("tiny-llama.json")["prompt"] as? [Int])
    let gradients = ParameterGradients(model)
    let pass = BackwardPass(model, context: try Tiny.context(), capacity: prompt.count)
    let loss = try pass.run(
      prompt, labels: .next, vectors: gradients.observe, observer: gradients.observe)
    let expected = try GoldenTests.tensor("tiny-llama.gradients.safetensors", "loss", shape: [1])[0]
    #expect(abs(loss.total / Double(expected) - 1) < 1e-5)
    #expect(loss.labelCount == prompt.count - 1)
    try Self.compare(gradients, model, file: "tiny-llama.gradients.safetensors")
  }

  @Test("the tiny BERT's gradients are PyTorch's, for every parameter")
  func bertGolden() throws {
    let model = try GoldenTests.model(GoldenTests.golden.appending(path: "tiny-bert"))
    let ids = try #require(try GoldenTests.json("tiny-bert.json")["ids"] as? [[Int]])
    let file = "tiny-bert.gradients.safetensors"
    let direction = try GoldenTests.tensor(file, "direction", shape: [32])
    let gradients = ParameterGradients(model)
    let pass = BackwardPass(model, context: try Tiny.context(), capacity: 64)
    try pass.run(
      ids[4], vectors: gradients.observe, embeddingGradient: { _ in direction },
      observer: gradients.observe)
    try Self.compare(gradients, model, file: file)
  }

  /// The models for finite differences: what the goldens do not have, too.
  static func models() throws -> [(name: String, model: Model)] {
    [
      ("untied with biases", try Tiny.llama(biases: true, maximumTokens: 40)),
      ("tied", try Tiny.llama(tied: true, maximumTokens: 40)),
      ("encoder", try Tiny.bert()),
    ]
  }

  @Test("gradients are the slopes of the loss along random directions, operator by operator")
  func finiteDifferences() throws {
    let context = try Tiny.context()
    for (name, model) in try Self.models() {
      let vocabulary = model.vocabularySize
      let tokens = Tiny.tokens(19, vocabulary: vocabulary)
      let direction = Tiny.tokens(36, vocabulary: 100).map { Float($0) / 50 - 1 }
      let labels: [Int?] = tokens.enumerated().map { $0 % 3 == 1 ? nil : ($1 + 5) % vocabulary }
      let gradients = ParameterGradients(model)
      let pass = BackwardPass(model, context: context, capacity: 40)
      if model.objective == .nextToken {
        try pass.run(
          tokens, labels: .given(labels), vectors: gradients.observe, observer: gradients.observe)
      } else {
        try pass.run(
          tokens, vectors: gradients.observe, embeddingGradient: { _ in direction },
          observer: gradients.observe)
      }
      let session = Session(model, context: context, capacity: 40)
      func loss(_ model: Model) throws -> Double {
        session.model = model
        guard model.objective == .nextToken else {
          return zip(try session.embed(tokens), direction).reduce(0) { $0 + Double($1.0 * $1.1) }
        }
        let logits = try session.forward(tokens, lastOnly: false)
        return labels.enumerated().reduce(0.0) { sum, item in
          guard let label = item.element else { return sum }
          let z = (0..<vocabulary).map { Double(logits[item.offset, $0]) }
          return sum + log(z.reduce(0) { $0 + exp($1) }) - z[label]
        }
      }
      var generator = SeededGenerator(state: 77)
      for (index, description) in model.operators.enumerated() {
        let weights = model.floatWeights(of: index)
        // Along the gradient plus noise: steep, so that rounding of the loss matters little.
        let gradient = gradients.weights[index].values
        let size = gradient.reduce(0) { $0 + $1 * $1 }.squareRoot()
        let step = gradient.map {
          $0 / size + Float.random(in: -0.5...0.5, using: &generator)
            / Float(gradient.count).squareRoot()
        }
        let expected = zip(gradient, step).reduce(0.0) { $0 + Double($1.0) * Double($1.1) }
        func moved(_ factor: Float) throws -> Double {
          let values = zip(weights.values, step).map { $0 + factor * $1 }
          return try loss(
            model.replacing(
              index,
              with: .float(
                FloatMatrix(rows: weights.rows, columns: weights.columns, values: values))))
        }
        // Fourth-order difference: the loss rounds at 10⁻⁶ of its value, so the step is wide.
        let h: Float = 0.02
        let near = try moved(h) - moved(-h)
        let far = try moved(2 * h) - moved(-2 * h)
        let slope = (8 * near - far) / Double(12 * h)
        #expect(
          abs(slope / expected - 1) < 2e-3, "\(name): \(description.name) \(slope) \(expected)")
      }
    }
  }

  @Test("the observer gets inputs and output gradients whose product is the weight gradient")
  func observesGradients() throws {
    let model = try Tiny.llama(tied: true)
    let tokens = Tiny.tokens(23)
    let pass = BackwardPass(model, context: try Tiny.context(), capacity: 30)
    let gradients = ParameterGradients(model)
    var seen: [Int] = []
    try pass.run(tokens, labels: .next) { gradient in
      seen.append(gradient.operatorIndex)
      gradients.observe(gradient)
      #expect(gradient.tokenCount == 23)
      let shape = model.operators[gradient.operatorIndex].shape
      switch gradient.use {
      case .product(let input):
        #expect(input.columns == shape.inputFeatures)
        #expect(gradient.outputGradient.columns == shape.outputFeatures)
      case .lookUp(let ids):
        #expect(ids == tokens)
        #expect(gradient.outputGradient.columns == shape.inputFeatures)
      }
    }
    // From the head to the table, which are one operator here.
    #expect(seen.first == 0 && seen.last == 0)
    #expect(Set(seen) == Set(0..<15))
    #expect(seen.count == 16)
    #expect(gradients.vectors.isEmpty)

    // Buffers are reused without leaving anything behind.
    let again = ParameterGradients(model)
    try pass.run(Tiny.tokens(30, seed: 5), labels: .next) { _ in }
    try pass.run(tokens, labels: .next, observer: again.observe)
    for index in model.operators.indices {
      #expect(again.weights[index].values == gradients.weights[index].values)
    }
  }

  @Test("sampled labels follow the model: mean gradient of the logits is near 0")
  func sampledLabels() throws {
    let model = try EvaluationTests.constantModel([0, 1, 2, 0.5])
    let pass = BackwardPass(model, context: try Tiny.context(), capacity: 600)
    var sums = [Double](repeating: 0, count: 4)
    var total = 0.0
    let tokens = [Int](repeating: 1, count: 600)
    for seed in 0..<4 {
      let loss = try pass.run(tokens, labels: .sampled(seed: UInt64(seed))) { gradient in
        guard gradient.operatorIndex == model.operators.count - 1 else { return }
        for row in 0..<gradient.tokenCount {
          for column in 0..<4 { sums[column] += Double(gradient.outputGradient[row, column]) }
        }
      }
      #expect(loss.labelCount == 600)
      total += loss.total
    }
    // Each entry is p − [sampled]: 2,400 draws of variance below ¼; five standard deviations.
    for sum in sums { #expect(abs(sum) < 5 * (2400.0 / 4).squareRoot()) }
    // Mean loss is the entropy of softmax(0, 1, 2, ½), 1.104 nats, within its sampling error.
    #expect(abs(total / 2400 - 1.104) < 0.1)
    let a = try pass.run(tokens, labels: .sampled(seed: 9)) { _ in }
    #expect(try a == pass.run(tokens, labels: .sampled(seed: 9)) { _ in })
    #expect(try a != pass.run(tokens, labels: .sampled(seed: 8)) { _ in })
  }

  @Test("gradients of packed weights are those of the floats they stand for")
  func packedWeights() throws {
    let model = try Tiny.llama()
    let operators = try RandomPacking.operators(RandomPacking.assignments(for: model))
    var dequantized = model
    for index in operators.indices {
      dequantized.weights[index] = .float(operators[index].dequantized())
    }
    let context = try Tiny.context()
    func gradients(_ model: Model) throws -> [[Float]] {
      let result = ParameterGradients(model)
      try BackwardPass(model, context: context, capacity: 20)
        .run(Tiny.tokens(20), labels: .next, observer: result.observe)
      return result.weights.map(\.values)
    }
    #expect(try gradients(model.replacingAll(with: operators)) == gradients(dequantized))
  }

  @Test("any number of threads gives the same gradients", arguments: [1, 3])
  func threadsAgree(_ threads: Int) throws {
    let model = try Tiny.llama(biases: true, vocabulary: 301)
    let tokens = Tiny.tokens(200, vocabulary: 301)
    func gradients(_ threads: Int) throws -> [[Float]] {
      let result = ParameterGradients(model)
      let pass = BackwardPass(model, context: try Tiny.context(threads: threads), capacity: 200)
      try pass.run(
        tokens, labels: .sampled(seed: 4), vectors: result.observe, observer: result.observe)
      return result.weights.map(\.values) + result.vectors.sorted { $0.key < $1.key }.map(\.value)
    }
    #expect(try gradients(threads) == gradients(2))
  }

  @Test("wrong calls are refused")
  func refusesWrongCalls() throws {
    let context = try Tiny.context()
    let pass = BackwardPass(try Tiny.llama(), context: context, capacity: 10)
    let tokens = Tiny.tokens(10)
    for (tokens, labels) in [
      ([], BackwardPass.Labels.next), ([1], .next), (Tiny.tokens(11), .next), ([61, 1], .next),
      (tokens, .given([1])), (tokens, .given([Int?](repeating: nil, count: 10))),
      ([1, 2], .given([61, nil])),
    ] {
      #expect(throws: EngineError.self) { try pass.run(tokens, labels: labels) { _ in } }
    }
    #expect(throws: EngineError.self) {
      try pass.run([1], embeddingGradient: { $0 }, observer: { _ in })
    }
    let encoder = BackwardPass(try Tiny.bert(), context: context, capacity: 10)
    #expect(throws: EngineError.self) { try encoder.run([1, 2], labels: .next) { _ in } }
  }
}
