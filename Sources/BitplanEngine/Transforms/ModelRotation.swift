import BitplanCore
public import BitplanKernels

extension Model {
  /// The same function with the residual stream turned by a seeded rotation.
  ///
  /// The norms' gains move into the operators that read them, since a rotation commutes with RMSNorm
  /// only when all gains are equal; embedding and writers are turned, readers turned back.
  ///
  /// - Throws: `EngineError` for an encoder, a head that shares the embedding table, and packed
  ///   weights.
  public func rotatingResidual(seed: UInt64, _ pool: ThreadPool) throws(EngineError) -> Model {
    guard let decoder = (architecture as? any DecoderArchitecture)?.decoder else {
      throw EngineError(
        "model '\(identity.name)' is a \(identity.architecture), whose LayerNorm does not commute "
          + "with rotations. Leave the rotation of the residual stream out.")
    }
    guard !decoder.tiedHead else {
      throw EngineError(
        "the head of model '\(identity.name)' is its embedding table, which cannot take the last "
          + "norm's gain. Leave the rotation of the residual stream out.")
    }
    let rotation = Rotation(size: decoder.width, seed: seed)
    let slots = SlotBuilder(model: self)
    let places = DecoderPass.Place.allCases.count
    var (weights, vectors) = (weights, vectors)
    func turnReader(_ index: Int, gain: FloatMatrix) throws(EngineError) {
      let gains = gain.values
      let matrix = try floatMatrix(weights[index], index)
      let scaled = FloatMatrix(rows: matrix.rows, columns: matrix.columns)
      withAddresses(matrix, scaled) { source, target in
        for place in 0..<matrix.rows * matrix.columns {
          target[place] = source[place] * gains[place % matrix.columns]
        }
      }
      weights[index] = .float(rotation.turningRows(of: scaled, pool))
    }
    func turnWriter(_ index: Int) throws(EngineError) {
      weights[index] = .float(
        rotation.turningColumns(of: try floatMatrix(weights[index], index), pool))
      if let bias = slots.bias(of: index) {
        vectors[bias] = rotation.turningRows(of: vectors[bias], pool)
      }
    }
    /// Sets the gains of a norm to 1 and returns what they were.
    func takeGain(_ name: String) -> FloatMatrix {
      guard let index = slots.vector(name) else {
        preconditionFailure("the architecture does not list the vector '\(name)' that it uses")
      }
      let gain = vectors[index]
      vectors[index] = FloatMatrix(
        rows: 1, columns: gain.columns, values: [Float](repeating: 1, count: gain.columns))
      return gain
    }
    weights[0] = .float(rotation.turningRows(of: try floatMatrix(weights[0], 0), pool))
    for layer in 0..<layerCount {
      let first = 1 + layer * places
      let attentionGain = takeGain("model.layers.\(layer).input_layernorm.weight")
      for place in [DecoderPass.Place.query, .key, .value] {
        try turnReader(first + place.rawValue, gain: attentionGain)
      }
      try turnWriter(first + DecoderPass.Place.output.rawValue)
      let mlpGain = takeGain("model.layers.\(layer).post_attention_layernorm.weight")
      for place in [DecoderPass.Place.gate, .up] {
        try turnReader(first + place.rawValue, gain: mlpGain)
      }
      try turnWriter(first + DecoderPass.Place.down.rawValue)
    }
    try turnReader(1 + layerCount * places, gain: takeGain("model.norm.weight"))
    return try replacingTensors(weights: weights, vectors: vectors)
  }

  /// The same function with the values of one layer turned head by head: attention mixes tokens, not
  /// features, so what value writes may be turned and the output projection turned back.
  ///
  /// - Throws: `EngineError` for packed weights.
  public func rotatingValues(
    layer: Int, seed: UInt64, _ pool: ThreadPool
  ) throws(EngineError) -> Model {
    guard let slot = scalingSlots.first(where: { $0.slot == .value && $0.layer == layer }),
      let value = slot.producer
    else {
      throw EngineError(
        "model '\(identity.name)' has no values in layer \(layer) to rotate. Its layers are "
          + "0..<\(layerCount); leave the rotation out.")
    }
    let headSize =
      (architecture as? any DecoderArchitecture)?.decoder.headSize
      ?? (architecture as? Bert).map { $0.width / $0.headCount } ?? 1
    let rotation = Rotation(size: headSize, seed: seed)
    var (weights, vectors) = (weights, vectors)
    weights[value] = .float(
      rotation.turningColumns(of: try floatMatrix(weights[value], value), pool))
    if let bias = SlotBuilder(model: self).bias(of: value) {
      vectors[bias] = rotation.turningRows(of: vectors[bias], pool)
    }
    for reader in slot.readers {
      weights[reader] = .float(
        rotation.turningRows(of: try floatMatrix(weights[reader], reader), pool))
    }
    return try replacingTensors(weights: weights, vectors: vectors)
  }
}
