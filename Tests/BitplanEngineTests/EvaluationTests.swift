import BitplanCore
import BitplanEngine
import BitplanKernels
import Foundation
import Testing

struct EvaluationTests {
  /// A model whose logits do not depend on the input: the head's rows times a constant state.
  static func constantModel(_ logits: [Float]) throws -> Model {
    let model = try Tiny.llama(layers: 1, vocabulary: logits.count)
    // A table of equal rows and silent layers leave the state at (1, 1, …) after the final norm.
    let table = FloatMatrix(
      rows: logits.count, columns: 48, values: Array(repeating: 1, count: logits.count * 48))
    let head = FloatMatrix(rows: logits.count, columns: 48)
    for (row, logit) in logits.enumerated() { head[row, 0] = logit }
    var weights = model.weights
    weights[0] = .float(table)
    for index in 1..<weights.count - 1 {
      let shape = model.operators[index].shape
      weights[index] = .float(FloatMatrix(rows: shape.outputFeatures, columns: shape.inputFeatures))
    }
    weights[weights.count - 1] = .float(head)
    let vectors = model.vectors.map { vector in
      FloatMatrix(
        rows: 1, columns: vector.columns, values: Array(repeating: 1, count: vector.columns))
    }
    return try Model(
      model.architecture, name: "constant", sha256: "0", weights: weights, vectors: vectors,
      configurationText: "{}")
  }

  @Test("equal distributions have perplexity of the vocabulary")
  func uniformPerplexity() throws {
    let model = try Self.constantModel([0, 0, 0, 0, 0])
    let evaluation = try LanguageModelEvaluation(windows: [[0, 1, 2, 3], [4, 4]])
    let result = try evaluation.perplexity(of: model, try Tiny.context())
    #expect(result.predictionCount == 4)
    #expect(abs(result.perplexity - 5) < 1e-5)
    #expect(result.negativeLogLikelihood.standardErrorOverTokens < 1e-7)
  }

  @Test("KL, perplexity and agreement agree with sums by hand")
  func handComputed() throws {
    // The state is 1/√(1 + ε) in every feature; ε = 10⁻⁵.
    let state = 1 / (1.00001).squareRoot()
    let (p, q): ([Float], [Float]) = ([0, 1, 2], [0.5, 1.5, -1])
    func softmax(_ z: [Float]) -> [Double] {
      let e = z.map { exp(Double($0) * state) }
      return e.map { $0 / e.reduce(0, +) }
    }
    let (a, b) = (softmax(p), softmax(q))
    let expected = zip(a, b).reduce(0) { $0 + $1.0 * log($1.0 / $1.1) }
    let context = try Tiny.context()
    let evaluation = try LanguageModelEvaluation(windows: [[0, 1, 2], [2, 0]])
    let (reference, model) = (try Self.constantModel(p), try Self.constantModel(q))
    let kept = try evaluation.reference(of: reference, context)
    let result = try evaluation.divergence(of: model, from: kept, context)
    #expect(abs(result.klDivergence.mean - expected) < 1e-6)
    #expect(abs(result.klDivergence.median - expected) < 1e-6)
    #expect(result.klDivergence.standardErrorOverWindows < 1e-6)
    #expect(result.topAgreement == 0)
    #expect(result.predictionCount == 3)
    let loss = -(log(b[1]) + log(b[2]) + log(b[0])) / 3
    #expect(abs(result.perplexity - exp(loss)) < 1e-5)
    let referenceLoss = -(log(a[1]) + log(a[2]) + log(a[0])) / 3
    #expect(abs(result.referencePerplexity - exp(referenceLoss)) < 1e-5)
    #expect(abs(kept.perplexity - exp(referenceLoss)) < 1e-5)

    let streamed = try evaluation.divergence(of: model, from: reference, context)
    #expect(streamed == result)
  }

  @Test("a model is at distance exactly 0 from itself, and not from another")
  func identicalIsZero() throws {
    let model = try Tiny.llama(vocabulary: 203)
    let context = try Tiny.context()
    let windows = LanguageModelEvaluation.windows(
      of: Tiny.tokens(130, vocabulary: 203), length: 40, limit: 3)
    #expect(windows.count == 3)
    let evaluation = try LanguageModelEvaluation(windows: windows)
    let reference = try evaluation.reference(of: model, context)
    let same = try evaluation.divergence(of: model, from: reference, context)
    #expect(same.klDivergence.maximum == 0)
    #expect(same.topAgreement == 1)
    #expect(abs(same.perplexity - same.referencePerplexity) < 1e-4)
    let other = try evaluation.divergence(
      of: try Tiny.llama(vocabulary: 203, seed: 8), from: reference, context)
    #expect(other.klDivergence.mean > 0.1)
    #expect(other.klDivergence.percentile99 <= other.klDivergence.maximum)
  }

  @Test("float rows agree with Double arithmetic, to the rounding of float logits")
  func agreesWithDouble() throws {
    let context = try Tiny.context()
    let (reference, model) = (
      try Tiny.llama(vocabulary: 333), try Tiny.llama(vocabulary: 333, seed: 8)
    )
    let window = Tiny.tokens(20, vocabulary: 333)
    let evaluation = try LanguageModelEvaluation(windows: [window])
    let a = try Session(reference, context: context, capacity: 20).forward(window, lastOnly: false)
    let b = try Session(model, context: context, capacity: 20).forward(window, lastOnly: false)
    var total = 0.0
    for row in 0..<19 {
      func logSoftmax(_ matrix: FloatMatrix) -> [Double] {
        let z = (0..<333).map { Double(matrix[row, $0]) }
        let sum = z.reduce(0) { $0 + exp($1) }
        return z.map { $0 - log(sum) }
      }
      let (p, q) = (logSoftmax(a), logSoftmax(b))
      total += zip(p, q).reduce(0) { $0 + exp($1.0) * ($1.0 - $1.1) }
    }
    let result = try evaluation.divergence(of: model, from: reference, context)
    // ln p and ln q are rounded to float: half an ulp at magnitude 16 is 10⁻⁶.
    #expect(abs(result.klDivergence.mean - total / 19) < 2e-6)
  }

  @Test("summaries: mean, median, percentile and standard errors of small sets")
  func summaries() {
    let one = SampleSummary(windows: [[1, 2], [3, 6]])
    #expect(one.mean == 3)
    #expect(one.median == 2.5)
    #expect(one.percentile99 == 6)
    #expect(one.maximum == 6)
    // Squares about the mean: 4 + 1 + 0 + 9 = 14; 14 / 3 / 4.
    #expect(abs(one.standardErrorOverTokens - (14.0 / 12).squareRoot()) < 1e-12)
    // Window means 1.5 and 4.5: standard deviation 3/√2, over √2 windows.
    #expect(abs(one.standardErrorOverWindows - 1.5) < 1e-12)
    let hundred = SampleSummary(windows: [(1...200).map(Double.init)])
    #expect(hundred.percentile99 == 198)
    #expect(hundred.median == 100.5)
    #expect(hundred.standardErrorOverWindows == 0)
  }

  @Test("windows without a prediction and references of other windows are refused")
  func refusesWrongWindows() throws {
    #expect(throws: EngineError.self) { try LanguageModelEvaluation(windows: []) }
    #expect(throws: EngineError.self) { try LanguageModelEvaluation(windows: [[1, 2], [1]]) }
    #expect(throws: EngineError.self) { try EncoderEvaluation(sentences: [[1], []]) }
    let context = try Tiny.context()
    let model = try Tiny.llama()
    let reference = try LanguageModelEvaluation(windows: [[1, 2, 3]]).reference(of: model, context)
    let other = try LanguageModelEvaluation(windows: [[1, 2, 4]])
    #expect(throws: EngineError.self) { try other.divergence(of: model, from: reference, context) }
  }

  @Test("embedding distances are exact at the ends and keep small digits")
  func cosineDistances() throws {
    #expect(EncoderEvaluation.cosineDistance([1, 2, 3], [1, 2, 3]) == 0)
    #expect(abs(EncoderEvaluation.cosineDistance([1, 0], [0, 2]) - 1) < 1e-15)
    #expect(abs(EncoderEvaluation.cosineDistance([1, 0], [-3, 0]) - 2) < 1e-15)
    let small = EncoderEvaluation.cosineDistance([1, 0], [1, 1.0e-5])
    #expect(abs(small / 5e-11 - 1) < 1e-6)

    let context = try Tiny.context()
    let evaluation = try EncoderEvaluation(sentences: [
      [1, 2, 3], [4], Tiny.tokens(50, vocabulary: 53),
    ])
    let model = try Tiny.bert()
    let reference = try evaluation.embeddings(of: model, context)
    for embedding in reference {
      #expect(abs(embedding.reduce(0) { $0 + $1 * $1 } - 1) < 1e-5)
    }
    let same = try evaluation.distance(of: model, from: reference, context)
    #expect(same.distances == [0, 0, 0])
    var weights = model.floatWeights(of: 4).values
    weights[0] += 1
    let changed = model.replacing(
      4, with: .float(FloatMatrix(rows: 36, columns: 36, values: weights)))
    let other = try evaluation.distance(of: changed, from: reference, context)
    #expect(other.distances.allSatisfy { $0 > 0 })
    #expect(abs(other.cosineDistance.mean - other.distances.reduce(0, +) / 3) < 1e-15)
  }

  @Test("input moments are those of the inputs, one entry for operators that share one")
  func inputMoments() throws {
    let model = try Tiny.llama()
    let session = Session(model, context: try Tiny.context(), capacity: 20)
    let moments = InputMoments(model, detail: .full)
    var inputs = [Int: [Float]]()
    session.observer = { index, input, count in
      moments.observe(index, input, count)
      inputs[index, default: []] += input.values.values.prefix(count * input.values.columns)
    }
    _ = try session.forward(Tiny.tokens(9), lastOnly: false)
    session.reset()
    _ = try session.forward(Tiny.tokens(5, seed: 4), lastOnly: false)
    #expect(moments.tokenCount(of: 3) == 14)
    #expect(moments.meanSquares(of: 0) == nil)
    for index in [1, 3, 4, 6, 7, 15] {
      let values = try #require(inputs[index])
      let columns = model.operators[index].shape.inputFeatures
      let squares = try #require(moments.meanSquares(of: index))
      let products = try #require(moments.meanProducts(of: index))
      for column in stride(from: 0, to: columns, by: 7) {
        for other in stride(from: 0, to: columns, by: 5) {
          let expected =
            (0..<14).reduce(0.0) {
              $0 + Double(values[$1 * columns + column]) * Double(values[$1 * columns + other])
            } / 14
          #expect(abs(Double(products[column, other]) - expected) < 1e-5 * (1 + abs(expected)))
          if column == other {
            #expect(abs(Double(squares[column]) - expected) < 1e-6 * (1 + abs(expected)))
          }
        }
      }
    }
  }
}
