import BitplanCore
public import BitplanKernels

/// Called before every matrix product of a forward pass with the operator's index in
/// `Model.operators`, its input `[tokenCount, inputFeatures]`, and the number of tokens.
///
/// Operators that share an input (query, key and value; gate and up) are reported one by one with
/// the same `Activations`; see `Model.inputSource(of:)`. Embedding look-ups are not products.
public typealias ProductObserver = (
  _ operatorIndex: Int, _ input: Activations, _ tokenCount: Int
) -> Void

/// The one place where a forward pass meets weights: every matrix product and every look-up.
package final class MatrixProducts {
  let context: KernelContext
  /// One element for every operator.
  var weights: [OperatorWeights]
  /// What turns an operator's input before its product, by the operator's index.
  var inputRotations: [Int: Rotation]
  /// Sees every product before it happens.
  var observer: ProductObserver?

  init(
    weights: [OperatorWeights], inputRotations: [Int: Rotation], context: KernelContext
  ) {
    self.weights = weights
    self.inputRotations = inputRotations
    self.context = context
  }

  /// `y = W · x` for the tokens of `x`, by whatever holds the operator's weights; where the input is
  /// rotated, `x` is turned in place first, and that is what the observer sees.
  func multiply(_ index: Int, _ x: Activations, into y: FloatMatrix) {
    if let rotation = inputRotations[index] {
      rotation.turn(x.values, tokenCount: x.tokenCount, context.pool)
      x.didChange(tokenCount: x.tokenCount)
    }
    if let observer { observer(index, x, x.tokenCount) }
    switch weights[index] {
    case .float(let matrix, nil):
      FloatProduct.multiply(
        x.values, tokenCount: x.tokenCount, by: matrix, into: y, context.pool)
    case .float(let matrix, let groupSize?):
      FloatProduct.multiply(
        x.dequantized(groupSize: groupSize, context), tokenCount: x.tokenCount, by: matrix,
        into: y, context.pool)
    case .packed(let packed):
      context.multiply(packed, x, into: y)
    case .deferred(_, let make):
      FloatProduct.multiply(x.values, tokenCount: x.tokenCount, by: make(), into: y, context.pool)
    }
  }

  /// Writes the table's rows `indices` to the first rows of `output`.
  func lookUp(_ index: Int, _ indices: [Int], into output: FloatMatrix) {
    switch weights[index] {
    case .float(let table, _): copyRows(indices, of: table, into: output)
    case .packed(let packed): packed.lookUp(indices, into: output)
    case .deferred(_, let make): copyRows(indices, of: make(), into: output)
    }
  }

  private func copyRows(_ indices: [Int], of table: FloatMatrix, into output: FloatMatrix) {
    let columns = table.columns
    withAddresses(table, output) { table, output in
      for (row, id) in indices.enumerated() {
        (output + row * columns).update(from: table + id * columns, count: columns)
      }
    }
  }
}
