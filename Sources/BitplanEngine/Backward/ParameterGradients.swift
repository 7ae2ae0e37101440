import BitplanCore
public import BitplanKernels

/// Gradients of every parameter, summed over the sequences that a backward pass was run on.
///
/// Takes as much memory as the float model; statistics of gradients need no more than what a
/// ``GradientObserver`` sees.
public final class ParameterGradients {
  private let model: Model
  /// One `[outputFeatures, inputFeatures]` matrix for every operator.
  public let weights: [FloatMatrix]
  /// One matrix for every vector, by tensor name.
  public private(set) var vectors: [String: [Float]] = [:]

  /// All zero.
  public init(_ model: Model) {
    self.model = model
    weights = model.operators.map {
      FloatMatrix(rows: $0.shape.outputFeatures, columns: $0.shape.inputFeatures)
    }
  }

  /// Adds one operator's weight gradient; meant as a pass's observer.
  public func observe(_ gradient: OperatorGradient) {
    let target = weights[gradient.operatorIndex]
    switch gradient.use {
    case .product(let input):
      FloatProduct.addWeightGradient(
        gradient.outputGradient, input, tokenCount: gradient.tokenCount, to: target)
    case .lookUp(let tokens):
      let width = target.columns
      withAddresses(gradient.outputGradient, target) { source, target in
        for (row, token) in tokens.enumerated() {
          VectorMath.add(source + row * width, to: target + token * width, width)
        }
      }
    }
  }

  /// Adds one vector's gradient; meant as a pass's `vectors`.
  public func observe(_ name: String, _ gradient: [Float]) {
    guard let known = vectors[name] else {
      vectors[name] = gradient
      return
    }
    vectors[name] = zip(known, gradient).map { $0 + $1 }
  }
}
