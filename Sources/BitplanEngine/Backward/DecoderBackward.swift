import BitplanKernels

/// Reverse mode of a ``Decoder``.
final class DecoderBackward: BackwardSteps {
  var forward: any ForwardPass { pass }
  private let pass: DecoderPass
  private let decoder: Decoder
  private let weights: [FloatMatrix]
  private let inputRotations: [Int: Rotation]
  private let attention: AttentionGradient
  private let pool: ThreadPool
  /// `[capacity, width]`: gradient at a norm's output.
  private let normed: FloatMatrix
  /// `[capacity, intermediateSize]`: gradients of the MLP.
  private let gate: FloatMatrix
  private let up: FloatMatrix
  /// `[capacity, queryFeatures]` and `[capacity, keyValueFeatures]`: gradients of attention.
  private let attended: FloatMatrix
  private let queries: FloatMatrix
  private let keys: FloatMatrix
  private let values: FloatMatrix

  /// - Parameter weights: every operator's, float.
  init(
    _ decoder: Decoder, vectors: NamedVectors, weights: [FloatMatrix],
    inputRotations: [Int: Rotation], context: KernelContext, capacity: Int
  ) {
    self.decoder = decoder
    self.weights = weights
    self.inputRotations = inputRotations
    pool = context.pool
    let products = MatrixProducts(
      weights: weights.map { .float($0) }, inputRotations: inputRotations, context: context)
    pass = DecoderPass(
      decoder, vectors: vectors, products: products, capacity: capacity,
      options: PassOptions(chunk: capacity, isLayerwise: true))
    attention = AttentionGradient(
      headCount: decoder.headCount, keyValueHeadCount: decoder.keyValueHeadCount,
      headSize: decoder.headSize, isCausal: true, capacity: capacity,
      threads: context.pool.threadCount)
    normed = FloatMatrix(rows: capacity, columns: decoder.width)
    gate = FloatMatrix(rows: capacity, columns: decoder.intermediateSize)
    up = FloatMatrix(rows: capacity, columns: decoder.intermediateSize)
    attended = FloatMatrix(rows: capacity, columns: decoder.queryFeatures)
    queries = FloatMatrix(rows: capacity, columns: decoder.queryFeatures)
    keys = FloatMatrix(rows: capacity, columns: decoder.keyValueFeatures)
    values = FloatMatrix(rows: capacity, columns: decoder.keyValueFeatures)
  }

  func finish(
    output: FloatMatrix, state: FloatMatrix, rows: Range<Int>, gradient: FloatMatrix,
    _ sink: GradientSink
  ) {
    let (head, width, count) = (pass.headOperator, decoder.width, rows.count)
    sink.product(head, input: pass.headInput.values, gradient: output, count: count)
    FloatProduct.multiplyBack(
      output, tokenCount: count, by: weights[head], into: normed, pool)
    let input = FloatMatrix(rows: count, columns: width)
    let result = FloatMatrix(rows: count, columns: width)
    withAddresses(state, input) { state, input in
      input.update(from: state + rows.lowerBound * width, count: count * width)
    }
    normBackward(input, pass.finalNorm, "model.norm.weight", addTo: result, count: count, sink)
    withAddresses(gradient, result) { gradient, result in
      (gradient + rows.lowerBound * width).update(from: result, count: count * width)
    }
  }

  func runLayer(
    _ index: Int, input: FloatMatrix, count: Int, gradient: FloatMatrix, _ sink: GradientSink
  ) {
    let layer = pass.layers[index]
    let prefix = "model.layers.\(index)."
    mlp(layer, prefix, count: count, gradient: gradient, sink)
    normBackward(
      pass.middle, layer.postAttentionNorm, prefix + "post_attention_layernorm.weight",
      addTo: gradient, count: count, sink)
    attention(layer, prefix, count: count, gradient: gradient, sink)
    normBackward(
      input, layer.inputNorm, prefix + "input_layernorm.weight", addTo: gradient, count: count,
      sink)
  }

  func start(_ tokens: [Int], gradient: FloatMatrix, _ sink: GradientSink) {
    sink.lookUp(0, tokens: tokens, gradient: gradient)
  }

  /// From the layer's output gradient to the gradient at gate's and up's input, in ``normed``.
  private func mlp(
    _ layer: DecoderPass.Layer, _ prefix: String, count: Int, gradient: FloatMatrix,
    _ sink: GradientSink
  ) {
    report(.down, layer, prefix, "mlp.down_proj", pass.gated.values, gradient, count, sink)
    back(.down, layer, gradient, into: gate, count)
    BackwardMath.gatedSilu(
      gate: pass.gate, up: pass.up, gradient: gate, upGradient: up, count: count, pool)
    report(.up, layer, prefix, "mlp.up_proj", pass.mlpInput.values, up, count, sink)
    report(.gate, layer, prefix, "mlp.gate_proj", pass.mlpInput.values, gate, count, sink)
    back(.gate, layer, gate, into: normed, count)
    back(.up, layer, up, into: normed, count, adding: true)
  }

  /// From the gradient after attention to the gradient at query's, key's and value's input, in
  /// ``normed``.
  private func attention(
    _ layer: DecoderPass.Layer, _ prefix: String, count: Int, gradient: FloatMatrix,
    _ sink: GradientSink
  ) {
    report(.output, layer, prefix, "self_attn.o_proj", pass.attended.values, gradient, count, sink)
    back(.output, layer, gradient, into: attended, count)
    attention.run(
      .init(
        queries: pass.queries, keys: layer.keys, values: layer.values, layout: pass.cacheLayout),
      outputGradient: attended, into: .init(queries: queries, keys: keys, values: values),
      count: count, pool)
    rotateBack(queries, heads: decoder.headCount, count: count)
    rotateBack(keys, heads: decoder.keyValueHeadCount, count: count)
    let input = pass.attentionInput.values
    report(.value, layer, prefix, "self_attn.v_proj", input, values, count, sink)
    report(.key, layer, prefix, "self_attn.k_proj", input, keys, count, sink)
    report(.query, layer, prefix, "self_attn.q_proj", input, queries, count, sink)
    back(.query, layer, queries, into: normed, count)
    back(.key, layer, keys, into: normed, count, adding: true)
    back(.value, layer, values, into: normed, count, adding: true)
  }

  private func report(
    _ place: DecoderPass.Place, _ layer: DecoderPass.Layer, _ prefix: String, _ name: String,
    _ input: FloatMatrix, _ gradient: FloatMatrix, _ count: Int, _ sink: GradientSink
  ) {
    let hasBias = layer.biases[place.rawValue] != nil
    sink.product(
      layer.firstOperator + place.rawValue, input: input, gradient: gradient, count: count,
      bias: hasBias ? prefix + name + ".bias" : nil)
  }

  private func back(
    _ place: DecoderPass.Place, _ layer: DecoderPass.Layer, _ gradient: FloatMatrix,
    into result: FloatMatrix, _ count: Int, adding: Bool = false
  ) {
    let index = layer.firstOperator + place.rawValue
    FloatProduct.multiplyBack(
      gradient, tokenCount: count, by: weights[index], into: result, adding: adding, pool)
    // An input that is turned has one reader, so nothing else was added.
    inputRotations[index]?.turnBack(result, tokenCount: count, pool)
  }

  /// Adds to `gradient` what reaches a norm's input from the gradient at its output in ``normed``.
  private func normBackward(
    _ input: FloatMatrix, _ weight: FloatMatrix, _ name: String, addTo gradient: FloatMatrix,
    count: Int, _ sink: GradientSink
  ) {
    if let vectors = sink.vectors {
      vectors(
        name,
        BackwardMath.rmsWeight(
          input, epsilon: decoder.epsilon, outputGradient: normed, count: count))
    }
    BackwardMath.rms(
      input, weight: weight, epsilon: decoder.epsilon, outputGradient: normed, addTo: gradient,
      count: count, pool)
  }

  /// The gradient before rotation: turned back by the same angles.
  private func rotateBack(_ matrix: FloatMatrix, heads: Int, count: Int) {
    let (headSize, half, rotary) = (decoder.headSize, decoder.headSize / 2, pass.rotary)
    RowWork.forEach(count, elementsPerRow: 2 * heads * headSize, pool) { part in
      withAddresses(matrix, rotary.cosines, rotary.sines) { matrix, cosines, sines in
        for row in part {
          for head in 0..<heads {
            let address = matrix + (row * heads + head) * headSize
            RotaryTable.rotate(
              address, into: address, cosines: cosines + row * half, sines: sines + row * half,
              half: half, inverse: true)
          }
        }
      }
    }
  }
}
