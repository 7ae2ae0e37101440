import BitplanCore
public import BitplanKernels

/// What the backward pass knows about one operator: its input and the loss's gradient at its
/// output. Every statistic of the weight gradient follows from the two.
///
/// The matrices belong to the backward pass and are overwritten after the call; their first
/// `tokenCount` rows are valid.
public struct OperatorGradient {
  /// Index in `Model.operators`.
  public let operatorIndex: Int
  /// Tokens of the sequence; for a head, whose logits come in blocks, those of one block.
  public let tokenCount: Int
  /// What the operator did: a product, or a look-up of rows.
  public let use: Use
  /// Gradient of the loss at the output: of a product `[tokenCount, outputFeatures]`, of a look-up
  /// `[tokenCount, inputFeatures]` (the width of the table).
  public let outputGradient: FloatMatrix

  /// What an operator did with its matrix.
  public enum Use {
    /// `y = W · x` with the input `[tokenCount, inputFeatures]`.
    case product(input: FloatMatrix)
    /// Rows of the table, one for every token.
    case lookUp(tokens: [Int])
  }
}

/// Called once for every use of an operator, from the last to the first; for a head once for every
/// block of logits, in the order of tokens. A table that is also the head is reported as a product and
/// as a look-up.
public typealias GradientObserver = (OperatorGradient) -> Void

/// Where the steps of a backward pass deliver what they find.
package final class GradientSink {
  private let observer: GradientObserver
  /// Takes the gradient of a vector by its tensor name; `nil` saves the work.
  let vectors: ((String, [Float]) -> Void)?

  init(observer: @escaping GradientObserver, vectors: ((String, [Float]) -> Void)?) {
    self.observer = observer
    self.vectors = vectors
  }

  /// A product's input and output gradient; its bias gets the sum over tokens.
  func product(
    _ index: Int, input: FloatMatrix, gradient: FloatMatrix, count: Int, bias: String? = nil
  ) {
    observer(
      OperatorGradient(
        operatorIndex: index, tokenCount: count, use: .product(input: input),
        outputGradient: gradient))
    if let bias, let vectors { vectors(bias, BackwardMath.columnSums(gradient, count: count)) }
  }

  /// A look-up's output gradient.
  func lookUp(_ index: Int, tokens: [Int], gradient: FloatMatrix) {
    observer(
      OperatorGradient(
        operatorIndex: index, tokenCount: tokens.count, use: .lookUp(tokens: tokens),
        outputGradient: gradient))
  }
}
