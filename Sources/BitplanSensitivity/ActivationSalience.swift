internal import BitplanCore
public import BitplanEngine
public import BitplanKernels
internal import BitplanQuantizers

/// What rounding an operator's input to 8 bits costs, by the same gradients as the salience of its rows.
public enum ActivationSalience {
  /// `½ · E[g_r²] · E[(W_r · δ)²]`, summed over output features, with the rounding error `δ` of sampled
  /// inputs: the Fisher information's quadratic form.
  ///
  /// - Parameters:
  ///   - statistics: one for every operator of the model.
  ///   - groupSize: activations that share a scale.
  ///   - pool: threads that share an operator's rows.
  /// - Returns: predicted loss for every operator when its input alone is rounded; 0 for tables that
  ///   are only looked up.
  public static func costs(
    _ model: Model, _ statistics: [OperatorStatistics], _ gradients: GradientStatistics,
    groupSize: Int = 128, pool: ThreadPool
  ) -> [Double] {
    // Operators that share an input come one after the other.
    var last: (source: Int, errors: FloatMatrix)?
    return model.operators.enumerated().map { index, description in
      guard description.isMultiplied else { return 0 }
      let source = model.inputSource(of: index)
      let errors =
        last.flatMap { $0.source == source ? $0.errors : nil }
        ?? roundingErrors(statistics[index].samples, groupSize: groupSize)
      last = (source, errors)
      let squares = OutputError.meanSquaredOutput(
        model.floatWeights(of: index), samples: errors, pool: pool)
      return 0.5 * gradients.tokensPerUnit
        * zip(gradients.meanSquares[index], squares).reduce(0) { $0 + $1.0 * $1.1 }
    }
  }

  /// What 8 bits leave of `samples` where every `groupSize` features of a row share a scale.
  static func roundingErrors(_ samples: FloatMatrix, groupSize: Int) -> FloatMatrix {
    let columns = samples.columns
    let result = FloatMatrix(rows: samples.rows, columns: columns)
    samples.withUnsafeBufferPointer { x in
      result.withUnsafeMutableBufferPointer { result in
        for row in 0..<samples.rows {
          let places = row * columns..<(row + 1) * columns
          VectorOperations.roundingError(
            of: UnsafeBufferPointer(rebasing: x[places]), groupSize: groupSize,
            into: UnsafeMutableBufferPointer(rebasing: result[places]))
        }
      }
    }
    return result
  }
}
