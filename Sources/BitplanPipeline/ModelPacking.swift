internal import BitplanCore
internal import BitplanEngine
internal import BitplanKernels

extension Model {
  /// The same model with every operator packed.
  func replacingAll(with operators: [PackedOperator]) -> Model {
    precondition(operators.count == weights.count, "one packed operator for every operator")
    var result = self
    result.weights = operators.map { .packed($0) }
    return result
  }

  /// Stored bytes of all packed operators, row maps included.
  var packedBytes: Int {
    weights.reduce(0) { sum, weights in
      guard case .packed(let packed) = weights else { return sum }
      let maps = packed.segments.count > 1
        ? Plan.Assignment.rowMapBytes(outputFeatures: packed.shape.outputFeatures) : 0
      return sum + maps + packed.segments.reduce(0) { $0 + $1.matrix.bytes.count }
    }
  }
}
