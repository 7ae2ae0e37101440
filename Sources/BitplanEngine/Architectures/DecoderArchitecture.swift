package import BitplanCore
package import BitplanKernels

/// An architecture that is a ``Decoder``: its file says how to read the configuration, the rest is
/// here.
package protocol DecoderArchitecture: Architecture {
  /// Sizes and switches.
  var decoder: Decoder { get }
}

extension DecoderArchitecture {
  package static var objective: Model.Objective { .nextToken }
  package var vocabularySize: Int { decoder.vocabularySize }
  package var maximumTokens: Int { decoder.maximumTokens }
  package var layerCount: Int { decoder.layerCount }

  package var operators: [OperatorDescription] {
    let d = decoder
    let table = MatrixShape(outputFeatures: d.vocabularySize, inputFeatures: d.width)
    var result = [
      OperatorDescription(
        name: "model.embed_tokens", shape: table, role: d.tiedHead ? .tiedEmbedding : .embedding,
        layer: nil)
    ]
    for layer in 0..<d.layerCount {
      func linear(_ name: String, _ outputs: Int, _ inputs: Int) {
        result.append(
          OperatorDescription(
            name: "model.layers.\(layer).\(name)",
            shape: MatrixShape(outputFeatures: outputs, inputFeatures: inputs), role: .linear,
            layer: layer))
      }
      linear("self_attn.q_proj", d.queryFeatures, d.width)
      linear("self_attn.k_proj", d.keyValueFeatures, d.width)
      linear("self_attn.v_proj", d.keyValueFeatures, d.width)
      linear("self_attn.o_proj", d.width, d.queryFeatures)
      linear("mlp.gate_proj", d.intermediateSize, d.width)
      linear("mlp.up_proj", d.intermediateSize, d.width)
      linear("mlp.down_proj", d.width, d.intermediateSize)
    }
    if !d.tiedHead {
      result.append(OperatorDescription(name: "lm_head", shape: table, role: .head, layer: nil))
    }
    return result
  }

  /// Keys and values of every layer.
  package func keyValueBytes(tokenCount: Int, format: KeyValueFormat) -> Int {
    2 * decoder.layerCount * decoder.keyValueHeadCount * tokenCount
      * format.bytes(headSize: decoder.headSize)
  }

  package var vectors: [VectorDescription] {
    let d = decoder
    var result: [VectorDescription] = []
    for layer in 0..<d.layerCount {
      func vector(_ name: String, _ count: Int, if isPresent: Bool = true) {
        guard isPresent else { return }
        result.append(VectorDescription(name: "model.layers.\(layer).\(name)", shape: [count]))
      }
      vector("input_layernorm.weight", d.width)
      vector("self_attn.q_proj.bias", d.queryFeatures, if: d.queryKeyValueBias)
      vector("self_attn.k_proj.bias", d.keyValueFeatures, if: d.queryKeyValueBias)
      vector("self_attn.v_proj.bias", d.keyValueFeatures, if: d.queryKeyValueBias)
      vector("self_attn.o_proj.bias", d.width, if: d.outputBias)
      vector("post_attention_layernorm.weight", d.width)
      vector("mlp.gate_proj.bias", d.intermediateSize, if: d.mlpBias)
      vector("mlp.up_proj.bias", d.intermediateSize, if: d.mlpBias)
      vector("mlp.down_proj.bias", d.width, if: d.mlpBias)
    }
    result.append(VectorDescription(name: "model.norm.weight", shape: [d.width]))
    return result
  }

  package var inputSources: [Int] {
    // Within a layer: q, k, v share the first norm's output; gate and up the second's.
    let layer = [0, 0, 0, 3, 4, 4, 6]
    return operators.indices.map { index in
      guard index > 0, index <= decoder.layerCount * layer.count else { return index }
      let (number, place) = (index - 1).quotientAndRemainder(dividingBy: layer.count)
      return 1 + number * layer.count + layer[place]
    }
  }

  package func downOperator(layer: Int) -> Int {
    1 + layer * DecoderPass.Place.allCases.count + DecoderPass.Place.down.rawValue
  }

  package var fingerprint: String {
    "heads \(decoder.headCount)/\(decoder.keyValueHeadCount)x\(decoder.headSize)"
  }

  package func makeForwardPass(
    vectors: [FloatMatrix], products: MatrixProducts, capacity: Int
  ) -> any ForwardPass {
    makeForwardPass(
      vectors: vectors, products: products, capacity: capacity, options: PassOptions())
  }

  package func makeForwardPass(
    vectors: [FloatMatrix], products: MatrixProducts, capacity: Int, options: PassOptions
  ) -> any ForwardPass {
    DecoderPass(
      decoder, vectors: NamedVectors(self.vectors, vectors), products: products,
      capacity: capacity, options: options)
  }

  package func makeBackwardSteps(
    vectors: [FloatMatrix], weights: [FloatMatrix], inputRotations: [Int: Rotation],
    context: KernelContext, capacity: Int
  ) -> any BackwardSteps {
    DecoderBackward(
      decoder, vectors: NamedVectors(self.vectors, vectors), weights: weights,
      inputRotations: inputRotations, context: context, capacity: capacity)
  }
}

/// Vectors by tensor name.
struct NamedVectors {
  private let byName: [String: FloatMatrix]

  init(_ descriptions: [VectorDescription], _ values: [FloatMatrix]) {
    byName = Dictionary(
      uniqueKeysWithValues: zip(descriptions, values).map { ($0.name, $1) })
  }

  /// A vector that the architecture lists.
  func required(_ name: String) -> FloatMatrix {
    guard let matrix = byName[name] else {
      preconditionFailure("the architecture does not list the vector '\(name)' that it uses")
    }
    return matrix
  }

  /// A vector that only some configurations have.
  func optional(_ name: String) -> FloatMatrix? { byName[name] }
}
