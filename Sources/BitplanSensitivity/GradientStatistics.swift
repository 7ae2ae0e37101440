internal import BitplanCore
public import BitplanEngine
public import BitplanKernels

/// Squared gradients at every operator's output: how much the model cares about an error there.
///
/// Labels are drawn from the model's own distributions, so the squares average to the Fisher
/// information, whose quadratic form is the KL divergence to second order. For an encoder the
/// gradients are of the embedding along random directions, whose squares average to the squared
/// distance of embeddings: twice the cosine distance.
public struct GradientStatistics: Sendable {
  /// Mean over tokens of `g_r²` for every operator: per output feature of a product, per column of
  /// a table that is only looked up.
  public let meanSquares: [[Double]]
  /// Tokens for one unit of the metric: tokens ÷ predictions, or tokens ÷ sentences.
  public let tokensPerUnit: Double

  /// Runs one backward pass a window, on labels or directions drawn with `seed`.
  ///
  /// - Parameter progress: called with the windows done; may throw to stop.
  public static func gather(
    model: Model, windows: [[Int]], seed: UInt64, context: KernelContext,
    progress: (Int) throws -> Void
  ) throws -> GradientStatistics {
    let pass = BackwardPass(
      model, context: context, capacity: windows.map(\.count).max() ?? 1)
    var sums = model.operators.map { description in
      [Double](
        repeating: 0,
        count: description.isMultiplied
          ? description.shape.outputFeatures : description.shape.inputFeatures)
    }
    func observe(_ gradient: OperatorGradient) {
      if case .lookUp = gradient.use, model.operators[gradient.operatorIndex].isMultiplied {
        return
      }
      let columns = sums[gradient.operatorIndex].count
      gradient.outputGradient.withUnsafeBufferPointer { g in
        sums[gradient.operatorIndex].withUnsafeMutableBufferPointer { sums in
          for token in 0..<gradient.tokenCount {
            for column in 0..<columns {
              let value = Double(g[token * columns + column])
              sums[column] += value * value
            }
          }
        }
      }
    }
    var units = 0
    for (index, window) in windows.enumerated() {
      switch model.objective {
      case .nextToken:
        let loss = try pass.run(
          window, labels: .sampled(seed: seed &+ UInt64(index)), observer: observe)
        units += loss.labelCount
      case .sentenceEmbedding:
        var generator = SeededGenerator(state: seed &+ UInt64(index))
        try pass.run(
          window,
          embeddingGradient: { embedding in
            // Rademacher directions: mean 0, variance 1 in every coordinate.
            embedding.map { _ in Bool.random(using: &generator) ? 1 : -1 }
          }, observer: observe)
        units += 1
      }
      try progress(index + 1)
    }
    let tokens = Double(windows.reduce(0) { $0 + $1.count })
    return GradientStatistics(
      meanSquares: sums.map { $0.map { $0 / tokens } }, tokensPerUnit: tokens / Double(units))
  }
}
