public import BitplanCheckpoint
import BitplanCore
import BitplanKernels
import Foundation

extension Model {
  /// Reads a float checkpoint and the `config.json` beside it into float32 weights.
  ///
  /// - Throws: `EngineError` for an unsupported architecture or missing tensors, `CheckpointError`
  ///   for a configuration out of range and for tensors of the wrong shape or with values that
  ///   are not finite.
  public static func load(_ checkpoint: Checkpoint) throws -> Model {
    let path = checkpoint.folder + "/config.json"
    let configuration = try ModelConfiguration(path: path)
    guard let text = try? String(contentsOfFile: path, encoding: .utf8) else {
      throw EngineError("'\(path)' is not UTF-8 text. Write it again as UTF-8.")
    }
    let names = Set(checkpoint.tensors.map(\.name))
    let architecture = try Architectures.make(configuration, tensorNames: names)
    let operators = architecture.operators
    let descriptions = architecture.vectors
    let wanted = operators.map { $0.name + ".weight" } + descriptions.map(\.name)
    try requireAll(wanted, in: names, of: checkpoint)

    let weights = try operators.map { description in
      let shape = description.shape
      let values = try checkpoint.floats(
        description.name + ".weight", shape: [shape.outputFeatures, shape.inputFeatures])
      return OperatorWeights.float(
        FloatMatrix(rows: shape.outputFeatures, columns: shape.inputFeatures, values: values))
    }
    return try Model(
      architecture, name: checkpoint.name, sha256: checkpoint.sha256(), weights: weights,
      vectors: vectors(descriptions, from: checkpoint), configurationText: text,
      ignoredTensors: names.subtracting(wanted).sorted())
  }

  /// The same float model with the weights of every layer's `down` read from its checkpoint each time
  /// they are needed: where their inputs are turned, the turned weights take their place in memory.
  ///
  /// - Parameter checkpoint: what the model was loaded from.
  public func readingDownWhenNeeded(from checkpoint: Checkpoint) -> Model {
    var result = self
    for layer in 0..<layerCount {
      let index = architecture.downOperator(layer: layer)
      let (name, shape) = (operators[index].name + ".weight", operators[index].shape)
      result.weights[index] = .deferred(shape) {
        do {
          return FloatMatrix(
            rows: shape.outputFeatures, columns: shape.inputFeatures,
            values: try checkpoint.floats(
              name, shape: [shape.outputFeatures, shape.inputFeatures]))
        } catch {
          preconditionFailure("'\(name)' was read before and is not there any more: \(error)")
        }
      }
    }
    return result
  }

  /// Reads the tensors that stay float.
  static func vectors(
    _ descriptions: [VectorDescription], from checkpoint: Checkpoint
  ) throws(CheckpointError) -> [FloatMatrix] {
    var result: [FloatMatrix] = []
    for description in descriptions {
      let values = try checkpoint.floats(description.name, shape: description.shape)
      result.append(
        FloatMatrix(rows: description.rows, columns: description.columns, values: values))
    }
    return result
  }

  /// Names every missing tensor, the first few by name.
  static func requireAll(
    _ wanted: [String], in names: Set<String>, of checkpoint: Checkpoint
  ) throws(EngineError) {
    let missing = wanted.filter { !names.contains($0) }
    guard !missing.isEmpty else { return }
    let shown = missing.prefix(5).map { "'\($0)'" }.joined(separator: ", ")
    let rest = missing.count > 5 ? " and \(missing.count - 5) more" : ""
    throw EngineError(
      "checkpoint '\(checkpoint.name)' lacks \(shown)\(rest), which its config.json calls for. "
        + "Check that the configuration belongs to the checkpoint and that no shard is missing.")
  }
}
