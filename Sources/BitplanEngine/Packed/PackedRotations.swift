import BitplanCheckpoint
import BitplanCore
import BitplanKernels

/// What a packed file says about inputs that are turned while the model runs: its weights are for
/// turned inputs. Seeded rotations are made again from the plan; matrices that were found from the
/// calibration text are in the file.
enum PackedRotations {
  /// How far from orthogonal stored matrices may be: beyond rounding, they are damaged.
  private static let orthogonality = 1e-4

  private static func slowName(_ operatorName: String) -> String { "\(operatorName).input.slow" }
  private static func fastName(_ operatorName: String) -> String { "\(operatorName).input.fast" }

  /// The rotations that a plan names, by the operator whose input they turn.
  static func rotations(
    of plan: Plan, _ architecture: any Architecture, from checkpoint: Checkpoint
  ) throws -> [Int: Rotation] {
    let operators = architecture.operators
    var result: [Int: Rotation] = [:]
    for transform in plan.transforms ?? [] where transform.isOnline {
      let index = try self.index(of: transform, architecture)
      result[index] =
        transform.kind == .kronecker
        ? try kronecker(operators[index], from: checkpoint)
        : try Rotation.forInput(of: operators[index], seed: transform.seed ?? 0)
    }
    return result
  }

  /// Names of the tensors that ``rotations(of:_:from:)`` reads.
  static func tensorNames(
    of plan: Plan, _ architecture: any Architecture
  ) throws(EngineError) -> [String] {
    let operators = architecture.operators
    var result: [String] = []
    for transform in plan.transforms ?? [] where transform.kind == .kronecker {
      let name = operators[try index(of: transform, architecture)].name
      result += [slowName(name), fastName(name)]
    }
    return result
  }

  /// The same tensors of a model, to be written.
  static func entries(of model: Model) -> [SafetensorsWriter.Entry] {
    func entry(_ name: String, _ matrix: FloatMatrix) -> SafetensorsWriter.Entry {
      SafetensorsWriter.Entry(
        name: name, dataType: "F32", shape: [matrix.rows, matrix.columns],
        byteCount: matrix.rows * matrix.columns * 4
      ) { sink in
        try matrix.withUnsafeBufferPointer { try sink(UnsafeRawBufferPointer($0)) }
      }
    }
    return model.inputRotations.sorted { $0.key < $1.key }.flatMap { index, rotation in
      rotation.matrices.map { matrices in
        let name = model.operators[index].name
        return [entry(slowName(name), matrices.slow), entry(fastName(name), matrices.fast)]
      } ?? []
    }
  }

  private static func kronecker(
    _ description: OperatorDescription, from checkpoint: Checkpoint
  ) throws -> Rotation {
    let sizes = try Rotation.kroneckerSizes(for: description)
    func matrix(_ name: String, _ size: Int) throws -> FloatMatrix {
      FloatMatrix(
        rows: size, columns: size, values: try checkpoint.floats(name, shape: [size, size]))
    }
    let rotation = Rotation(
      slow: try matrix(slowName(description.name), sizes.slow),
      fast: try matrix(fastName(description.name), sizes.fast))
    guard rotation.deviationFromOrthogonal <= orthogonality else {
      throw EngineError(
        "the matrices that turn the input of operator '\(description.name)' are not orthogonal in "
          + "'\(checkpoint.name)'. Pack the model again.")
    }
    return rotation
  }

  /// Whether `model` turns the inputs that a plan says it does.
  static func check(_ plan: Plan, against model: Model) throws(EngineError) {
    var planned: [Int: Bool] = [:]
    for transform in plan.transforms ?? [] where transform.isOnline {
      planned[try index(of: transform, model.architecture)] = transform.kind == .kronecker
    }
    guard planned == model.inputRotations.mapValues({ $0.matrices != nil }) else {
      throw EngineError(
        "the plan rotates the inputs of \(planned.count) operators at run time, but the model those of "
          + "\(model.inputRotations.count), or in another way. Transform the model as the plan says, "
          + "then pack it.")
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
