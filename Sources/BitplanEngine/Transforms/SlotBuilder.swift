import BitplanCore
import BitplanKernels

/// Finds the slots of one layer of a family of models.
struct SlotBuilder {
  private let model: Model
  private let vectorIndices: [String: Int]

  init(model: Model) {
    self.model = model
    let names = model.architecture.vectors.map(\.name)
    vectorIndices = Dictionary(uniqueKeysWithValues: names.enumerated().map { ($1, $0) })
  }

  // MARK: Families

  /// Norm to query, key and value; norm to gate and up; value to output, the query heads of a value
  /// head sharing its factors; up to down, in which the MLP is linear; and query against key, where
  /// the two features that a rotary position turns into each other share a factor.
  func slots(of d: Decoder, layer: Int) -> [ScalingSlot] {
    let first = 1 + layer * DecoderPass.Place.allCases.count
    func place(_ place: DecoderPass.Place) -> Int { first + place.rawValue }
    let prefix = "model.layers.\(layer)."
    let half = d.headSize / 2
    // The factor of every query feature, from the key and value head that its head shares.
    let shared = (0..<d.queryFeatures).map { feature in
      (head: feature / d.headSize * d.keyValueHeadCount / d.headCount, feature % d.headSize)
    }
    return [
      norm(
        .attentionInput, layer, prefix + "input_layernorm.weight",
        readers: [place(.query), place(.key), place(.value)]),
      norm(
        .mlpInput, layer, prefix + "post_attention_layernorm.weight",
        readers: [place(.gate), place(.up)]),
      linear(
        .value, layer, from: place(.value), to: place(.output), count: d.keyValueFeatures,
        factorOfInput: shared.map { $0.head * d.headSize + $0.1 }),
      linear(
        .up, layer, from: place(.up), to: place(.down), count: d.intermediateSize,
        factorOfInput: Array(0..<d.intermediateSize)),
      queryKey(
        layer, query: place(.query), key: place(.key), count: d.keyValueHeadCount * half,
        ofQuery: shared.map { $0.head * half + $0.1 % half },
        ofKey: (0..<d.keyValueFeatures).map { $0 / d.headSize * half + $0 % half }),
    ]
  }

  /// Norms feed the residual stream too and GELU is not linear, so value to output and query
  /// against key are what is exact.
  func slots(of bert: Bert, layer: Int) -> [ScalingSlot] {
    let first = 1 + layer * Bert.linearNames.count
    let features = Array(0..<bert.width)
    return [
      linear(
        .value, layer, from: first + 2, to: first + 3, count: bert.width, factorOfInput: features),
      queryKey(
        layer, query: first, key: first + 1, count: bert.width, ofQuery: features, ofKey: features),
    ]
  }

  // MARK: Shapes of slots

  private func norm(
    _ slot: EquivalenceTransform.Slot, _ layer: Int, _ name: String, readers: [Int]
  ) -> ScalingSlot {
    let count = model.operators[readers[0]].shape.inputFeatures
    let features = Array(0..<count)
    guard let gain = vectorIndices[name] else {
      preconditionFailure("the architecture does not list the vector '\(name)' that it uses")
    }
    return ScalingSlot(
      slot: slot, layer: layer, factorCount: count, readers: readers, factorOfInput: features,
      producer: nil, factorOfOutput: features, producerBias: nil,
      folds: [.init(target: .vector(gain), factors: features, divides: true)]
        + readers.map { .init(target: .columns($0), factors: features, divides: false) })
  }

  private func linear(
    _ slot: EquivalenceTransform.Slot, _ layer: Int, from producer: Int, to reader: Int, count: Int,
    factorOfInput: [Int]
  ) -> ScalingSlot {
    let outputs = Array(0..<count)
    return ScalingSlot(
      slot: slot, layer: layer, factorCount: count, readers: [reader],
      factorOfInput: factorOfInput, producer: producer, factorOfOutput: outputs,
      producerBias: bias(of: producer).map { model.vectors[$0] },
      folds: rowFolds(producer, outputs, divides: true)
        + [.init(target: .columns(reader), factors: factorOfInput, divides: false)])
  }

  private func queryKey(
    _ layer: Int, query: Int, key: Int, count: Int, ofQuery: [Int], ofKey: [Int]
  ) -> ScalingSlot {
    ScalingSlot(
      slot: .queryKey, layer: layer, factorCount: count, readers: [], factorOfInput: [],
      producer: key, factorOfOutput: ofKey, producerBias: bias(of: key).map { model.vectors[$0] },
      folds: rowFolds(key, ofKey, divides: true) + rowFolds(query, ofQuery, divides: false))
  }

  /// An operator's rows and its bias, if it has one.
  private func rowFolds(_ index: Int, _ factors: [Int], divides: Bool) -> [ScalingSlot.Fold] {
    let rows = ScalingSlot.Fold(target: .rows(index), factors: factors, divides: divides)
    guard let bias = bias(of: index) else { return [rows] }
    return [rows, .init(target: .vector(bias), factors: factors, divides: divides)]
  }

  /// The vector that is an operator's bias.
  func bias(of index: Int) -> Int? { vectorIndices[model.operators[index].name + ".bias"] }

  /// The vector of this name.
  func vector(_ name: String) -> Int? { vectorIndices[name] }
}
