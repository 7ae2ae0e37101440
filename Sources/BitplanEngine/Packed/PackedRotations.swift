import BitplanCore

/// What a packed file says about inputs that are turned while the model runs: its weights are for
/// turned inputs, so reading it makes the same rotations again.
enum PackedRotations {
  /// The rotations that a plan names, by the operator whose input they turn.
  static func rotations(
    of plan: Plan, _ architecture: any Architecture
  ) throws(EngineError) -> [Int: Rotation] {
    let operators = architecture.operators
    var result: [Int: Rotation] = [:]
    for transform in plan.transforms ?? [] where transform.isOnline {
      let index = try self.index(of: transform, architecture)
      result[index] = try Rotation.forInput(
        of: operators[index], seed: transform.seed ?? 0)
    }
    return result
  }

  /// Whether `model` turns the inputs that a plan says it does.
  static func check(_ plan: Plan, against model: Model) throws(EngineError) {
    var planned: Set<Int> = []
    for transform in plan.transforms ?? [] where transform.isOnline {
      planned.insert(try index(of: transform, model.architecture))
    }
    guard planned == Set(model.inputRotations.keys) else {
      throw EngineError(
        "the plan rotates the inputs of \(planned.count) operators at run time, but the model those of "
          + "\(model.inputRotations.count). Transform the model as the plan says, then pack it.")
    }
  }

  private static func index(
    of transform: EquivalenceTransform, _ architecture: any Architecture
  ) throws(EngineError) -> Int {
    guard let layer = transform.layer, (0..<architecture.layerCount).contains(layer) else {
      throw EngineError(
        "the plan rotates the input of layer \(transform.layer.map { "\($0)" } ?? "-") at run time, but "
          + "the model's layers are 0..<\(architecture.layerCount). Use the plan that was made for "
          + "this model.")
    }
    return architecture.downOperator(layer: layer)
  }
}
