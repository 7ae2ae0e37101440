public import BitplanCore
public import BitplanKernels

extension Rotation {
  /// Most multiply-adds that turning an input may take for every feature: a product of `width` outputs
  /// takes `width` of them, and should stay the larger part.
  private static let mostProductsPerFeature = 512

  /// The two sizes of a Kronecker product for `size` features, `slow · fast = size`, as near to its
  /// root as divisors come: the multiply-adds of a feature are their sum. `nil` where one of them would
  /// be too large.
  public static func kroneckerSizes(_ size: Int) -> (slow: Int, fast: Int)? {
    var slow = Int(Double(size).squareRoot())
    while size % slow != 0 { slow -= 1 }
    return slow + size / slow <= mostProductsPerFeature ? (slow, size / slow) : nil
  }

  /// The two sizes for an operator's input.
  ///
  /// - Throws: `EngineError` where one of them would be too large.
  public static func kroneckerSizes(
    for description: OperatorDescription
  ) throws(EngineError) -> (slow: Int, fast: Int) {
    let size = description.shape.inputFeatures
    guard let sizes = kroneckerSizes(size) else {
      throw EngineError(
        "the \(size) inputs of operator '\(description.name)' are no product of two numbers that add up "
          + "to \(mostProductsPerFeature) or less, so a Kronecker product would take too long at run "
          + "time. Leave it out, or take a seeded rotation.")
    }
    return sizes
  }

  /// Whether rows of so many features can be turned while a model runs.
  static func isFast(size: Int) -> Bool { productsPerFeature(size: size) <= mostProductsPerFeature }

  /// The seeded rotation of an operator's input, fast enough to be done while the model runs.
  ///
  /// - Throws: `EngineError` where the size has a large odd factor.
  static func forInput(
    of description: OperatorDescription, seed: UInt64
  ) throws(EngineError) -> Rotation {
    let size = description.shape.inputFeatures
    guard isFast(size: size) else {
      throw EngineError(
        "the \(size) inputs of operator '\(description.name)' have an odd factor above "
          + "\(mostProductsPerFeature), for which rotating at run time would take too long. Leave the "
          + "rotation out.")
    }
    return Rotation(size: size, seed: seed)
  }
}

extension Model {
  /// The same function with the input of a layer's `down`, or of an encoder's second MLP projection,
  /// turned by a seeded rotation while the model runs, and the operator's weights `W` replaced by
  /// `W · R` (QuaRot, Ashkboos et al. 2024, arXiv:2404.00456).
  ///
  /// What the input comes from is not linear, so nothing can be turned ahead: the rotation costs time
  /// in every pass. Statistics, gradients and activations' codes are those of the turned input.
  ///
  /// - Throws: `EngineError` where there is no such layer, the input is turned already, its size would
  ///   take a large dense matrix, or the weights are packed.
  public func rotatingDownInput(
    layer: Int, seed: UInt64, _ pool: ThreadPool
  ) throws(EngineError) -> Model {
    let down = try downOperator(layer: layer)
    return try rotatingDownInput(
      layer: layer, by: .forInput(of: operators[down], seed: seed), pool)
  }

  /// As ``rotatingDownInput(layer:seed:_:)``, by a given rotation of the input's size.
  ///
  /// - Throws: as ``rotatingDownInput(layer:seed:_:)``.
  public func rotatingDownInput(
    layer: Int, by rotation: Rotation, _ pool: ThreadPool
  ) throws(EngineError) -> Model {
    let index = try downOperator(layer: layer)
    guard inputRotations[index] == nil else {
      throw EngineError(
        "the input of operator '\(operators[index].name)' is rotated already. Leave one of the "
          + "rotations out.")
    }
    var (weights, rotations) = (weights, inputRotations)
    weights[index] = .float(
      rotation.turningRows(of: try floatMatrix(weights[index], index), pool))
    rotations[index] = rotation
    return try replacingTensors(weights: weights, vectors: vectors, inputRotations: rotations)
  }

  /// Whether ``rotatingDownInput(layer:seed:_:)`` has an input to turn, of a size that it takes.
  public var canRotateDownInput: Bool {
    layerCount > 0
      && Rotation.isFast(size: operators[architecture.downOperator(layer: 0)].shape.inputFeatures)
  }

  /// The operator that ends a layer's MLP.
  ///
  /// - Throws: `EngineError` where there is no such layer.
  public func downOperator(layer: Int) throws(EngineError) -> Int {
    guard (0..<layerCount).contains(layer) else {
      throw EngineError(
        "model '\(identity.name)' has no MLP in layer \(layer) to rotate. Its layers are "
          + "0..<\(layerCount); leave the rotation out.")
    }
    return architecture.downOperator(layer: layer)
  }
}
