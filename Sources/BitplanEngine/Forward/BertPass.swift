import BitplanKernels

/// Forward pass of a ``Bert``: buffers and one layer's arithmetic.
///
/// A sequence is one chunk, since every token attends to every other. After
/// ``runLayer(_:count:position:)`` every intermediate result of the layer is still in its buffer,
/// which the backward pass relies on.
final class BertPass: ForwardPass {
  /// Vectors and first operator of one layer.
  struct Layer {
    let biases: [FloatMatrix]
    let attentionNorm: (weight: FloatMatrix, bias: FloatMatrix)
    let outputNorm: (weight: FloatMatrix, bias: FloatMatrix)
    let firstOperator: Int
  }

  let chunkCapacity: Int
  var hidden: FloatMatrix { state.values }
  let bert: Bert
  let products: MatrixProducts
  let layers: [Layer]
  let positions: FloatMatrix
  let tokenTypes: FloatMatrix
  let embeddingNorm: (weight: FloatMatrix, bias: FloatMatrix)
  let queries: FloatMatrix
  let keys: FloatMatrix
  let values: FloatMatrix
  /// Input of the attention's output projection.
  let attended: Activations
  /// Input of the first LayerNorm; before the layers, of the embeddings' LayerNorm.
  let attentionSum: FloatMatrix
  /// Output of the first LayerNorm.
  let middle: Activations
  /// Input of GELU.
  let expanded: FloatMatrix
  /// Output of GELU.
  let activated: Activations
  /// Input of the second LayerNorm.
  let outputSum: FloatMatrix
  private let state: Activations
  private let attention: Attention

  init(_ bert: Bert, vectors: NamedVectors, products: MatrixProducts, capacity: Int) {
    self.bert = bert
    self.products = products
    chunkCapacity = capacity
    let prefix = bert.prefix
    func norm(_ name: String) -> (weight: FloatMatrix, bias: FloatMatrix) {
      (vectors.required(prefix + name + ".weight"), vectors.required(prefix + name + ".bias"))
    }
    positions = vectors.required(prefix + "embeddings.position_embeddings.weight")
    tokenTypes = vectors.required(prefix + "embeddings.token_type_embeddings.weight")
    embeddingNorm = norm("embeddings.LayerNorm")
    layers = (0..<bert.layerCount).map { layer in
      let name = "encoder.layer.\(layer)."
      return Layer(
        biases: Bert.linearNames.map { vectors.required(prefix + name + $0 + ".bias") },
        attentionNorm: norm(name + "attention.output.LayerNorm"),
        outputNorm: norm(name + "output.LayerNorm"),
        firstOperator: 1 + layer * Bert.linearNames.count)
    }
    attention = Attention(
      headCount: bert.headCount, keyValueHeadCount: bert.headCount,
      headSize: bert.width / bert.headCount, isCausal: false, capacity: capacity,
      threads: products.context.pool.threadCount)
    state = Activations(capacity: capacity, inputFeatures: bert.width)
    queries = FloatMatrix(rows: capacity, columns: bert.width)
    keys = FloatMatrix(rows: capacity, columns: bert.width)
    values = FloatMatrix(rows: capacity, columns: bert.width)
    attended = Activations(capacity: capacity, inputFeatures: bert.width)
    attentionSum = FloatMatrix(rows: capacity, columns: bert.width)
    middle = Activations(capacity: capacity, inputFeatures: bert.width)
    outputSum = FloatMatrix(rows: capacity, columns: bert.width)
    expanded = FloatMatrix(rows: capacity, columns: bert.intermediateSize)
    activated = Activations(capacity: capacity, inputFeatures: bert.intermediateSize)
  }

  func start(_ tokens: [Int], position: Int) {
    products.lookUp(0, tokens, into: attentionSum)
    let width = bert.width
    withAddresses(attentionSum, positions, tokenTypes) { sum, positions, tokenTypes in
      for row in tokens.indices {
        VectorMath.add(tokenTypes, to: sum + row * width, width)
        VectorMath.add(positions + (position + row) * width, to: sum + row * width, width)
      }
    }
    Normalization.layer(
      attentionSum, adding: nil, count: tokens.count, weight: embeddingNorm.weight,
      bias: embeddingNorm.bias, epsilon: bert.epsilon, into: hidden, products.context.pool)
  }

  /// Where a head's keys and values lie in their buffers.
  var layout: Attention.Layout {
    Attention.Layout(headStride: bert.width / bert.headCount, rowStride: bert.width)
  }

  func runLayer(_ index: Int, count: Int, position: Int) {
    let layer = layers[index]
    let pool = products.context.pool
    state.didChange(tokenCount: count)
    multiply(0, layer, state, into: queries, count)
    multiply(1, layer, state, into: keys, count)
    multiply(2, layer, state, into: values, count)
    attention.run(
      queries: queries, keys: keys, values: values, layout: layout, count: count, position: 0,
      into: attended.values, pool)
    attended.didChange(tokenCount: count)
    multiply(3, layer, attended, into: attentionSum, count)
    Normalization.layer(
      attentionSum, adding: hidden, count: count, weight: layer.attentionNorm.weight,
      bias: layer.attentionNorm.bias, epsilon: bert.epsilon, into: middle.values, pool)
    middle.didChange(tokenCount: count)
    multiply(4, layer, middle, into: expanded, count)
    activate(count: count)
    multiply(5, layer, activated, into: outputSum, count)
    Normalization.layer(
      outputSum, adding: middle.values, count: count, weight: layer.outputNorm.weight,
      bias: layer.outputNorm.bias, epsilon: bert.epsilon, into: hidden, pool)
  }

  func finish(rows: Range<Int>, into output: FloatMatrix) {
    let width = bert.width
    withAddresses(hidden, output) { hidden, output in
      output.update(repeating: 0, count: width)
      for row in rows { VectorMath.add(hidden + row * width, to: output, width) }
      // The mean's divisor cancels against the length.
      let length = max(VectorMath.dot(output, output, width).squareRoot(), 1e-12)
      VectorMath.scale(output, by: 1 / length, width)
    }
  }

  private func multiply(
    _ place: Int, _ layer: Layer, _ x: Activations, into y: FloatMatrix, _ count: Int
  ) {
    products.multiply(layer.firstOperator + place, x, into: y)
    Normalization.addBias(layer.biases[place], to: y, count: count, products.context.pool)
  }

  private func activate(count: Int) {
    let (expanded, output, width) = (expanded, activated.values, bert.intermediateSize)
    // The error function costs as much as some twenty multiply-adds.
    RowWork.forEach(count, elementsPerRow: 20 * width, products.context.pool) { part in
      withAddresses(expanded, output) { expanded, output in
        let offset = part.lowerBound * width
        VectorOperations.gelu(
          UnsafeBufferPointer(start: expanded + offset, count: part.count * width),
          into: UnsafeMutableBufferPointer(start: output + offset, count: part.count * width))
      }
    }
    activated.didChange(tokenCount: count)
  }
}
