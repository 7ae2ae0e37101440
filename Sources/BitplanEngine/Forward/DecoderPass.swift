import BitplanCore
import BitplanKernels

/// Forward pass of a ``Decoder``: buffers, KV cache, and one layer's arithmetic.
///
/// The same code runs float, simulated and packed weights: they differ inside ``MatrixProducts``.
/// Its own buffers are allocated once, in `init`. After ``runLayer(_:count:position:)`` every
/// intermediate result of the layer is still in its buffer, which the backward pass relies on.
final class DecoderPass: ForwardPass {
  /// Tokens that go through a layer together: enough to reuse every weight, few enough to keep
  /// the activations in the second-level cache.
  static let largestChunk = 512

  /// Vectors and first operator of one layer; operators follow in the order of ``Place``.
  struct Layer {
    let inputNorm: FloatMatrix
    let postAttentionNorm: FloatMatrix
    let biases: [FloatMatrix?]
    let firstOperator: Int
    /// Rotated keys and values, `[keyValueHeads · capacity, headSize]`, head by head; those of all
    /// layers where only one runs at a time.
    let keys: FloatMatrix
    let values: FloatMatrix
    /// The same as codes, in place of ``keys`` and ``values``.
    let quantized: Attention.QuantizedOperands?
  }

  /// Operators of a layer in their order.
  enum Place: Int, CaseIterable { case query, key, value, output, gate, up, down }

  let chunkCapacity: Int
  let hidden: FloatMatrix
  let decoder: Decoder
  let products: MatrixProducts
  /// Positions that the KV cache holds.
  let capacity: Int
  let layers: [Layer]
  let finalNorm: FloatMatrix
  let rotary: RotaryTable
  /// Input of query, key and value.
  let attentionInput: Activations
  /// Rotated queries.
  let queries: FloatMatrix
  /// Input of the output projection.
  let attended: Activations
  /// The residual stream between attention and MLP.
  let middle: FloatMatrix
  /// Input of gate and up.
  let mlpInput: Activations
  let gate: FloatMatrix
  let up: FloatMatrix
  /// Input of down.
  let gated: Activations
  /// Input of the head.
  let headInput: Activations
  private let attention: Attention
  private let keys: FloatMatrix
  private let values: FloatMatrix
  private let projected: FloatMatrix

  /// Makes the buffers.
  init(
    _ decoder: Decoder, vectors: NamedVectors, products: MatrixProducts, capacity: Int,
    options: PassOptions = PassOptions()
  ) {
    self.decoder = decoder
    self.products = products
    self.capacity = capacity
    let chunk = min(capacity, options.chunk)
    chunkCapacity = chunk
    let cache = options.cache
    let isFloat = cache == .float
    let rows = isFloat ? decoder.keyValueHeadCount * capacity : 0
    func codes() -> QuantizedCache {
      QuantizedCache(
        format: cache, headCount: decoder.keyValueHeadCount, capacity: capacity,
        headSize: decoder.headSize)
    }
    let caches = (0..<(options.isLayerwise ? 1 : decoder.layerCount)).map { _ in
      (
        keys: FloatMatrix(rows: rows, columns: decoder.headSize),
        values: FloatMatrix(rows: rows, columns: decoder.headSize),
        quantized: isFloat ? nil : Attention.QuantizedOperands(keys: codes(), values: codes())
      )
    }
    layers = (0..<decoder.layerCount).map { layer in
      let prefix = "model.layers.\(layer)."
      let names = [
        "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
        "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj",
      ]
      let (keys, values, quantized) = caches[options.isLayerwise ? 0 : layer]
      return Layer(
        inputNorm: vectors.required(prefix + "input_layernorm.weight"),
        postAttentionNorm: vectors.required(prefix + "post_attention_layernorm.weight"),
        biases: names.map { vectors.optional(prefix + $0 + ".bias") },
        firstOperator: 1 + layer * Place.allCases.count,
        keys: keys, values: values, quantized: quantized)
    }
    finalNorm = vectors.required("model.norm.weight")
    rotary = RotaryTable(
      positions: capacity, headSize: decoder.headSize, theta: decoder.ropeTheta)
    attention = Attention(
      headCount: decoder.headCount, keyValueHeadCount: decoder.keyValueHeadCount,
      headSize: decoder.headSize, isCausal: true, capacity: capacity,
      threads: products.context.pool.threadCount, readsCodes: cache != .float)
    hidden = FloatMatrix(rows: chunk, columns: decoder.width)
    middle = FloatMatrix(rows: chunk, columns: decoder.width)
    attentionInput = Activations(capacity: chunk, inputFeatures: decoder.width)
    mlpInput = Activations(capacity: chunk, inputFeatures: decoder.width)
    headInput = Activations(capacity: chunk, inputFeatures: decoder.width)
    queries = FloatMatrix(rows: chunk, columns: decoder.queryFeatures)
    keys = FloatMatrix(rows: chunk, columns: decoder.keyValueFeatures)
    values = FloatMatrix(rows: chunk, columns: decoder.keyValueFeatures)
    attended = Activations(capacity: chunk, inputFeatures: decoder.queryFeatures)
    projected = FloatMatrix(rows: chunk, columns: decoder.width)
    gate = FloatMatrix(rows: chunk, columns: decoder.intermediateSize)
    up = FloatMatrix(rows: chunk, columns: decoder.intermediateSize)
    gated = Activations(capacity: chunk, inputFeatures: decoder.intermediateSize)
  }

  func start(_ tokens: [Int], position: Int) { products.lookUp(0, tokens, into: hidden) }

  func runLayer(_ index: Int, count: Int, position: Int) {
    let layer = layers[index]
    let pool = products.context.pool

    normalize(hidden, layer.inputNorm, rows: 0..<count, into: attentionInput)
    multiply(.query, layer, attentionInput, into: queries, count)
    multiply(.key, layer, attentionInput, into: keys, count)
    multiply(.value, layer, attentionInput, into: values, count)
    rotateAndStore(layer, count: count, position: position)
    attention.run(
      queries: queries, keys: layer.keys, values: layer.values, quantized: layer.quantized,
      layout: cacheLayout, count: count, position: position, into: attended.values, pool)
    attended.didChange(tokenCount: count)
    multiply(.output, layer, attended, into: projected, count)
    Normalization.add(hidden, projected, into: middle, count: count, pool)

    normalize(middle, layer.postAttentionNorm, rows: 0..<count, into: mlpInput)
    multiply(.gate, layer, mlpInput, into: gate, count)
    multiply(.up, layer, mlpInput, into: up, count)
    activate(count: count)
    multiply(.down, layer, gated, into: projected, count)
    Normalization.add(middle, projected, into: hidden, count: count, pool)
  }

  /// Where a head's keys and values lie in a layer's cache.
  var cacheLayout: Attention.Layout {
    Attention.Layout(headStride: capacity * decoder.headSize, rowStride: decoder.headSize)
  }

  /// Index of the head, or of the table that is also the head.
  var headOperator: Int {
    decoder.tiedHead ? 0 : 1 + decoder.layerCount * Place.allCases.count
  }

  func finish(rows: Range<Int>, into output: FloatMatrix) {
    normalize(hidden, finalNorm, rows: rows, into: headInput)
    products.multiply(headOperator, headInput, into: output)
  }

  private func normalize(
    _ x: FloatMatrix, _ weight: FloatMatrix, rows: Range<Int>, into output: Activations
  ) {
    Normalization.rms(
      x, rows: rows, weight: weight, epsilon: decoder.epsilon, into: output.values,
      products.context.pool)
    output.didChange(tokenCount: rows.count)
  }

  private func multiply(
    _ place: Place, _ layer: Layer, _ x: Activations, into y: FloatMatrix, _ count: Int
  ) {
    products.multiply(layer.firstOperator + place.rawValue, x, into: y)
    Normalization.addBias(layer.biases[place.rawValue], to: y, count: count, products.context.pool)
  }

  /// Turns queries in place; turns keys into the cache and copies values beside them.
  private func rotateAndStore(_ layer: Layer, count: Int, position: Int) {
    let (decoder, capacity, rotary) = (decoder, capacity, rotary)
    let (queries, keys, values) = (queries, keys, values)
    let (cachedKeys, cachedValues, quantized) = (layer.keys, layer.values, layer.quantized)
    let half = decoder.headSize / 2
    RowWork.forEach(
      count, elementsPerRow: 2 * (decoder.queryFeatures + decoder.keyValueFeatures),
      products.context.pool
    ) { part in
      withAddresses(rotary.cosines, rotary.sines, queries, keys) { cosines, sines, queries, keys in
        withAddresses(values, cachedKeys, cachedValues) { values, cachedKeys, cachedValues in
          for row in part {
            let cosines = cosines + (position + row) * half
            let sines = sines + (position + row) * half
            for head in 0..<decoder.headCount {
              let query = queries + row * decoder.queryFeatures + head * decoder.headSize
              RotaryTable.rotate(query, into: query, cosines: cosines, sines: sines, half: half)
            }
            for head in 0..<decoder.keyValueHeadCount {
              let source = row * decoder.keyValueFeatures + head * decoder.headSize
              if let quantized {
                RotaryTable.rotate(
                  keys + source, into: keys + source, cosines: cosines, sines: sines, half: half)
                quantized.keys.store(keys + source, head: head, position: position + row)
                quantized.values.store(values + source, head: head, position: position + row)
                continue
              }
              let target = (head * capacity + position + row) * decoder.headSize
              RotaryTable.rotate(
                keys + source, into: cachedKeys + target, cosines: cosines, sines: sines,
                half: half)
              (cachedValues + target).update(from: values + source, count: decoder.headSize)
            }
          }
        }
      }
    }
  }

  /// `gated = silu(gate) · up`.
  private func activate(count: Int) {
    let (gate, up, output) = (gate, up, gated.values)
    let width = decoder.intermediateSize
    // An exponential costs as much as some ten multiply-adds.
    RowWork.forEach(count, elementsPerRow: 10 * width, products.context.pool) { part in
      withAddresses(gate, up, output) { gate, up, output in
        let offset = part.lowerBound * width
        let count = part.count * width
        VectorOperations.siluMultiply(
          UnsafeBufferPointer(start: gate + offset, count: count),
          UnsafeBufferPointer(start: up + offset, count: count),
          into: UnsafeMutableBufferPointer(start: output + offset, count: count))
      }
    }
    gated.didChange(tokenCount: count)
  }
}
