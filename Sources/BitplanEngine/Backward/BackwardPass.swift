import BitplanCore
public import BitplanKernels
import Foundation

/// Gradients of a model's loss, layer by layer.
///
/// The forward pass keeps each layer's input only; a layer's intermediate results are computed
/// again when its turn comes, so memory stays near that of one layer besides the inputs. Packed
/// weights take part as the float weights they stand for.
public final class BackwardPass {
  /// Which next tokens the negative log-likelihood is of.
  public enum Labels: Sendable {
    /// One for every token of the sequence: the token that should follow it; `nil` for none.
    case given([Int?])
    /// The sequence's own next tokens; the last token has none.
    case next
    /// Drawn from the model's own distributions: squared gradients then have the Fisher
    /// information as their mean.
    case sampled(seed: UInt64)
  }

  /// A language model's loss on one sequence.
  public struct Loss: Hashable, Sendable {
    /// Sum of negative log-likelihoods, nats: what the gradients are of.
    public let total: Double
    /// Labels that it sums over.
    public let labelCount: Int
  }

  /// The model.
  public let model: Model
  /// Most tokens of a sequence.
  public let capacity: Int
  private let context: KernelContext
  private let steps: any BackwardSteps
  /// Input of every layer, and the last layer's output.
  private let states: [FloatMatrix]
  private let gradient: FloatMatrix
  private var output: FloatMatrix

  /// Makes buffers for sequences of up to `capacity` tokens.
  public init(_ model: Model, context: KernelContext, capacity: Int) {
    precondition(capacity > 0, "a sequence holds at least one token")
    self.model = model
    self.context = context
    let capacity = min(capacity, model.maximumTokens)
    self.capacity = capacity
    steps = model.architecture.makeBackwardSteps(
      vectors: model.vectors, weights: model.weights.map(\.floats),
      inputRotations: model.inputRotations, context: context, capacity: capacity)
    let width = steps.forward.hidden.columns
    states = (0...model.layerCount).map { _ in FloatMatrix(rows: capacity, columns: width) }
    gradient = FloatMatrix(rows: capacity, columns: width)
    output = FloatMatrix(rows: 0, columns: model.vocabularySize)
  }

  /// Language models: gradients of the **sum** of negative log-likelihoods of `labels`.
  ///
  /// - Parameters:
  ///   - tokens: one sequence.
  ///   - observer: sees every operator's input and output gradient, the last operator first.
  ///   - vectors: sees the gradient of every vector (norms, biases, position tables), by tensor
  ///     name; `nil` saves the work.
  /// - Throws: `EngineError` for an encoder, unknown ids, too many tokens, no labels, and a loss
  ///   that is not finite.
  @discardableResult
  public func run(
    _ tokens: [Int], labels: Labels, vectors: ((String, [Float]) -> Void)? = nil,
    observer: @escaping GradientObserver
  ) throws(EngineError) -> Loss {
    try check(tokens, for: .nextToken)
    let chosen = try chosenLabels(tokens, labels)
    forward(tokens)
    // Logits in blocks, so that memory does not grow with sequence times vocabulary. A vector's
    // gradient is told once, for all tokens.
    let block = vectors == nil ? min(Session.logitBlock, tokens.count) : tokens.count
    if output.rows != block {
      output = FloatMatrix(rows: block, columns: model.vocabularySize)
    }
    let sink = GradientSink(observer: observer, vectors: vectors)
    var total = 0.0
    for begin in stride(from: 0, to: tokens.count, by: block) {
      let rows = begin..<min(begin + block, tokens.count)
      steps.forward.finish(rows: rows, into: output)
      total += negativeLogLikelihood(rows, chosen)
      finish(rows, sink)
    }
    guard total.isFinite else { throw notFinite("loss") }
    backward(tokens, sink)
    return Loss(total: total, labelCount: chosen.count)
  }

  /// Encoders: gradients of a function of the sentence embedding.
  ///
  /// - Parameters:
  ///   - tokens: one sentence.
  ///   - embeddingGradient: given the embedding `[width]`, the function's gradient with respect to
  ///     it. A random vector gives gradients whose squares average to the effect on the squared
  ///     distance of embeddings, which is twice the cosine distance.
  @discardableResult
  public func run(
    _ tokens: [Int], vectors: ((String, [Float]) -> Void)? = nil,
    embeddingGradient: (_ embedding: [Float]) -> [Float], observer: @escaping GradientObserver
  ) throws(EngineError) -> [Float] {
    try check(tokens, for: .sentenceEmbedding)
    forward(tokens)
    let width = gradient.columns
    let row = FloatMatrix(rows: 1, columns: width)
    steps.forward.finish(rows: 0..<tokens.count, into: row)
    let embedding = row.values
    guard embedding.allSatisfy(\.isFinite) else { throw notFinite("embedding") }
    let given = embeddingGradient(embedding)
    precondition(given.count == width, "the gradient must be as wide as the embedding")
    output = FloatMatrix(rows: 1, columns: width, values: given)
    let sink = GradientSink(observer: observer, vectors: vectors)
    finish(0..<tokens.count, sink)
    backward(tokens, sink)
    return embedding
  }

  private func forward(_ tokens: [Int]) {
    steps.forward.start(tokens, position: 0)
    for layer in 0..<model.layerCount {
      copy(steps.forward.hidden, to: states[layer], tokens.count)
      steps.forward.runLayer(layer, count: tokens.count, position: 0)
    }
    copy(steps.forward.hidden, to: states[model.layerCount], tokens.count)
  }

  private func finish(_ rows: Range<Int>, _ sink: GradientSink) {
    steps.finish(
      output: output, state: states[model.layerCount], rows: rows, gradient: gradient, sink)
  }

  private func backward(_ tokens: [Int], _ sink: GradientSink) {
    let count = tokens.count
    for layer in (0..<model.layerCount).reversed() {
      // The last layer's results are still in the forward pass's buffers.
      if layer != model.layerCount - 1 {
        copy(states[layer], to: steps.forward.hidden, count)
        steps.forward.runLayer(layer, count: count, position: 0)
      }
      steps.runLayer(layer, input: states[layer], count: count, gradient: gradient, sink)
    }
    steps.forward.start(tokens, position: 0)
    steps.start(tokens, gradient: gradient, sink)
  }

  /// The label of every token, or the random number that draws it.
  private struct ChosenLabels: Sendable {
    let labels: [Int?]
    let draws: [Double]?
    let count: Int
  }

  private func chosenLabels(
    _ tokens: [Int], _ labels: Labels
  ) throws(EngineError) -> ChosenLabels {
    let vocabulary = model.vocabularySize
    var given: [Int?]
    var generator: SeededGenerator?
    switch labels {
    case .given(let ids):
      guard ids.count == tokens.count else {
        throw EngineError(
          "\(ids.count) labels were given for \(tokens.count) tokens. Give one for every token.")
      }
      if let unknown = ids.compactMap({ $0 }).first(where: { $0 < 0 || $0 >= vocabulary }) {
        throw EngineError("label \(unknown) is outside the vocabulary of \(vocabulary).")
      }
      given = ids
    case .next: given = tokens.dropFirst().map { $0 } + [nil]
    case .sampled(let seed):
      given = tokens
      generator = SeededGenerator(state: seed)
    }
    let count = given.count { $0 != nil }
    guard count > 0 else {
      throw EngineError("no token has a label, so there is no loss. Give at least one label.")
    }
    // One random number a row, drawn in order, so that threads change nothing.
    let draws: [Double]? = generator.map { start in
      var generator = start
      return tokens.map { _ in Double.random(in: 0..<1, using: &generator) }
    }
    return ChosenLabels(labels: given, draws: draws, count: count)
  }

  /// Replaces the logits of `rows` by the loss's gradient: `softmax − label`, and 0 where there is no
  /// label; returns the rows' loss.
  private func negativeLogLikelihood(_ rows: Range<Int>, _ chosen: ChosenLabels) -> Double {
    let (output, vocabulary) = (output, model.vocabularySize)
    let losses = FloatMatrix(rows: rows.count, columns: 1)
    RowWork.forEach(rows.count, elementsPerRow: 20 * vocabulary, context.pool) { part in
      withAddresses(output, losses) { output, losses in
        for row in part {
          let token = rows.lowerBound + row
          losses[row] = Self.rowGradient(
            output + row * vocabulary, vocabulary, label: chosen.labels[token],
            draw: chosen.draws?[token])
        }
      }
    }
    return losses.values.reduce(0.0) { $0 + Double($1) }
  }

  /// One row of logits becomes one row of gradient; returns the row's loss.
  private static func rowGradient(
    _ z: Floats, _ count: Int, label: Int?, draw: Double?
  ) -> Float {
    guard var label else {
      z.update(repeating: 0, count: count)
      return 0
    }
    LogitRows.logSoftmax(z, into: z, count)
    if let draw {
      var sum = 0.0
      label = count - 1
      for id in 0..<count {
        sum += exp(Double(z[id]))
        if sum > draw {
          label = id
          break
        }
      }
    }
    let loss = -z[label]
    VectorMath.forEachVector(count) { index, lanes in
      if lanes == 8 {
        VectorMath.store(VectorMath.exp(VectorMath.load(z, index)), z, index)
      } else {
        VectorMath.storeTail(
          VectorMath.exp(VectorMath.loadTail(z, index, lanes)), z, index, lanes)
      }
    }
    z[label] -= 1
    return loss
  }

  private func copy(_ source: FloatMatrix, to target: FloatMatrix, _ rows: Int) {
    withAddresses(source, target) { $1.update(from: $0, count: rows * source.columns) }
  }

  private func check(_ tokens: [Int], for objective: Model.Objective) throws(EngineError) {
    guard model.objective == objective else {
      throw EngineError(
        objective == .nextToken
          ? "model '\(model.identity.name)' is an encoder: give a gradient of its embedding."
          : "model '\(model.identity.name)' is a language model: give labels.")
    }
    guard !tokens.isEmpty, tokens.count <= capacity else {
      throw EngineError(
        "\(tokens.count) tokens were given, but between 1 and \(capacity) fit. Cut the sequence.")
    }
    if let unknown = tokens.first(where: { $0 < 0 || $0 >= model.vocabularySize }) {
      throw EngineError(
        "token id \(unknown) is outside the vocabulary of \(model.vocabularySize).")
    }
  }

  private func notFinite(_ what: String) -> EngineError {
    EngineError(
      "the \(what) of model '\(model.identity.name)' is not finite, so it has no gradient. Check "
        + "its weights.")
  }
}
