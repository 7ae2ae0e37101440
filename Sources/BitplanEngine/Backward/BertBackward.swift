import BitplanKernels

/// Reverse mode of a ``Bert``.
final class BertBackward: BackwardSteps {
  var forward: any ForwardPass { pass }
  private let pass: BertPass
  private let bert: Bert
  private let weights: [FloatMatrix]
  private let inputRotations: [Int: Rotation]
  private let attention: AttentionGradient
  private let pool: ThreadPool
  /// `[capacity, width]`: the residual's share while a block is passed.
  private let residual: FloatMatrix
  /// `[capacity, intermediateSize]`.
  private let expanded: FloatMatrix
  /// `[capacity, width]`: gradients of attention.
  private let attended: FloatMatrix
  private let queries: FloatMatrix
  private let keys: FloatMatrix
  private let values: FloatMatrix

  /// - Parameter weights: every operator's, float.
  init(
    _ bert: Bert, vectors: NamedVectors, weights: [FloatMatrix],
    inputRotations: [Int: Rotation], context: KernelContext, capacity: Int
  ) {
    self.bert = bert
    self.weights = weights
    self.inputRotations = inputRotations
    pool = context.pool
    let products = MatrixProducts(
      weights: weights.map { .float($0) }, inputRotations: inputRotations, context: context)
    pass = BertPass(bert, vectors: vectors, products: products, capacity: capacity)
    attention = AttentionGradient(
      headCount: bert.headCount, keyValueHeadCount: bert.headCount,
      headSize: bert.width / bert.headCount, isCausal: false, capacity: capacity,
      threads: context.pool.threadCount)
    residual = FloatMatrix(rows: capacity, columns: bert.width)
    expanded = FloatMatrix(rows: capacity, columns: bert.intermediateSize)
    attended = FloatMatrix(rows: capacity, columns: bert.width)
    queries = FloatMatrix(rows: capacity, columns: bert.width)
    keys = FloatMatrix(rows: capacity, columns: bert.width)
    values = FloatMatrix(rows: capacity, columns: bert.width)
  }

  func finish(
    output: FloatMatrix, state: FloatMatrix, rows: Range<Int>, gradient: FloatMatrix,
    _ sink: GradientSink
  ) {
    let (width, count) = (bert.width, rows.count)
    withAddresses(state, output, residual, gradient) { state, output, sum, gradient in
      // e = m / |m| with m the sum over tokens: dm = (de − e · (e·de)) / |m|, the same for every
      // token.
      sum.update(repeating: 0, count: width)
      for row in 0..<count { VectorMath.add(state + row * width, to: sum, width) }
      let length = max(VectorMath.dot(sum, sum, width).squareRoot(), 1e-12)
      let along = VectorMath.dot(sum, output, width) / length
      for column in 0..<width {
        gradient[column] = (output[column] - sum[column] / length * along) / length
      }
      for row in 1..<max(1, count) {
        (gradient + row * width).update(from: gradient, count: width)
      }
    }
  }

  func runLayer(
    _ index: Int, input: FloatMatrix, count: Int, gradient: FloatMatrix, _ sink: GradientSink
  ) {
    let layer = pass.layers[index]
    let name = bert.prefix + "encoder.layer.\(index)."

    normBackward(
      pass.outputSum, layer.outputNorm.weight, name + "output.LayerNorm", gradient, count, sink)
    keep(gradient, count)
    report(5, layer, name, pass.activated.values, gradient, count, sink)
    back(5, layer, gradient, into: expanded, count)
    BackwardMath.gelu(pass.expanded, gradient: expanded, count: count, pool)
    report(4, layer, name, pass.middle.values, expanded, count, sink)
    back(4, layer, expanded, into: gradient, count)
    Normalization.add(gradient, residual, into: gradient, count: count, pool)

    normBackward(
      pass.attentionSum, layer.attentionNorm.weight, name + "attention.output.LayerNorm", gradient,
      count, sink)
    keep(gradient, count)
    report(3, layer, name, pass.attended.values, gradient, count, sink)
    back(3, layer, gradient, into: attended, count)
    attention.run(
      .init(
        queries: pass.queries, keys: pass.keys, values: pass.values, layout: pass.layout),
      outputGradient: attended, into: .init(queries: queries, keys: keys, values: values),
      count: count, pool)
    report(2, layer, name, input, values, count, sink)
    report(1, layer, name, input, keys, count, sink)
    report(0, layer, name, input, queries, count, sink)
    back(0, layer, queries, into: gradient, count)
    back(1, layer, keys, into: gradient, count, adding: true)
    back(2, layer, values, into: gradient, count, adding: true)
    Normalization.add(gradient, residual, into: gradient, count: count, pool)
  }

  func start(_ tokens: [Int], gradient: FloatMatrix, _ sink: GradientSink) {
    let name = bert.prefix + "embeddings."
    normBackward(
      pass.attentionSum, pass.embeddingNorm.weight, name + "LayerNorm", gradient, tokens.count,
      sink)
    sink.lookUp(0, tokens: tokens, gradient: gradient)
    guard let vectors = sink.vectors else { return }
    // Row `t` of the positions was added to token `t`, row 0 of the token types to every token.
    let rest = (bert.maximumTokens - tokens.count) * bert.width
    vectors(
      name + "position_embeddings.weight",
      Array(gradient.values.prefix(tokens.count * bert.width))
        + [Float](repeating: 0, count: rest))
    vectors(
      name + "token_type_embeddings.weight",
      BackwardMath.columnSums(gradient, count: tokens.count)
        + [Float](repeating: 0, count: (bert.tokenTypeCount - 1) * bert.width))
  }

  private func keep(_ gradient: FloatMatrix, _ count: Int) {
    let width = bert.width
    withAddresses(gradient, residual) { gradient, residual in
      residual.update(from: gradient, count: count * width)
    }
  }

  /// Replaces the gradient at a LayerNorm's output by that at its input.
  private func normBackward(
    _ sum: FloatMatrix, _ weight: FloatMatrix, _ name: String, _ gradient: FloatMatrix,
    _ count: Int, _ sink: GradientSink
  ) {
    if let vectors = sink.vectors {
      vectors(
        name + ".weight",
        BackwardMath.layerNormWeight(
          sum, epsilon: bert.epsilon, outputGradient: gradient, count: count))
      vectors(name + ".bias", BackwardMath.columnSums(gradient, count: count))
    }
    BackwardMath.layerNorm(
      sum, weight: weight, epsilon: bert.epsilon, outputGradient: gradient, into: gradient,
      count: count, pool)
  }

  private func report(
    _ place: Int, _ layer: BertPass.Layer, _ name: String, _ input: FloatMatrix,
    _ gradient: FloatMatrix, _ count: Int, _ sink: GradientSink
  ) {
    sink.product(
      layer.firstOperator + place, input: input, gradient: gradient, count: count,
      bias: name + Bert.linearNames[place] + ".bias")
  }

  private func back(
    _ place: Int, _ layer: BertPass.Layer, _ gradient: FloatMatrix, into result: FloatMatrix,
    _ count: Int, adding: Bool = false
  ) {
    let index = layer.firstOperator + place
    FloatProduct.multiplyBack(
      gradient, tokenCount: count, by: weights[index], into: result, adding: adding, pool)
    // An input that is turned has one reader, so nothing else was added.
    inputRotations[index]?.turnBack(result, tokenCount: count, pool)
  }
}
