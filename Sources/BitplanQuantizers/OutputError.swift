public import BitplanKernels
internal import CBLAS
internal import Foundation

/// How far quantized weights move an operator's outputs on sampled inputs.
public enum OutputError {
  /// Mean over the samples of `((Ŵ_r − W_r) · x)²`, for every output feature `r`.
  ///
  /// - Parameters:
  ///   - original: `W`, `[outputFeatures, inputFeatures]`.
  ///   - quantized: `Ŵ`, dequantized, of the same shape.
  ///   - samples: `X`, `[samples, inputFeatures]`.
  public static func meanSquared(
    original: FloatMatrix, quantized: FloatMatrix, samples: FloatMatrix
  ) -> [Double] {
    precondition(original.rows == quantized.rows && original.columns == quantized.columns)
    return meanSquaredOutput(difference(original, quantized), samples: samples)
  }

  /// Mean over the samples of `(W_r · x)²`, for every output feature `r`.
  public static func meanSquaredOutput(_ weights: FloatMatrix, samples: FloatMatrix) -> [Double] {
    precondition(samples.columns == weights.columns, "samples are inputs of this operator")
    var sums = [Double](repeating: 0, count: weights.rows)
    guard samples.rows > 0 else { return sums }
    let output = FloatMatrix(rows: samples.rows, columns: weights.rows)
    product(samples, 0, samples.rows, weights, into: output)
    output.withUnsafeBufferPointer { y in
      for sample in 0..<samples.rows {
        for row in 0..<weights.rows {
          let value = Double(y[sample * weights.rows + row])
          sums[row] += value * value
        }
      }
    }
    return sums.map { $0 / Double(samples.rows) }
  }

  /// What errors of logits cost, for every row of a head; see ``logitCosts(original:quantized:samples:)``.
  public struct LogitCost: Hashable, Sendable {
    /// Mean over the samples of `p_r (eᵈ − 1 − d)`, nats.
    public let expected: Double
    /// Mean over the samples of `eᵈ − 1 − d`: the cost where the token is certain.
    public let unconditional: Double
  }

  /// Cost of the error `d = (ŵ_r − w_r) · x` of every logit, with `p = softmax(W x)`.
  ///
  /// `p (eᵈ − 1 − d)` bounds the KL divergence of moving logit `r` by `d`, and the bounds of several
  /// logits add up to a bound.
  ///
  /// - Parameters:
  ///   - original: `W`, `[vocabulary, inputFeatures]`.
  ///   - quantized: `Ŵ`, dequantized, of the same shape.
  ///   - samples: `X`, `[samples, inputFeatures]`.
  public static func logitCosts(
    original: FloatMatrix, quantized: FloatMatrix, samples: FloatMatrix
  ) -> [LogitCost] {
    precondition(original.rows == quantized.rows && original.columns == quantized.columns)
    precondition(samples.columns == original.columns, "samples are inputs of the head")
    let vocabulary = original.rows
    var expected = [Double](repeating: 0, count: vocabulary)
    var unconditional = expected
    let block = min(64, max(1, samples.rows))
    let logits = FloatMatrix(rows: block, columns: vocabulary)
    let moved = FloatMatrix(rows: block, columns: vocabulary)
    for begin in stride(from: 0, to: samples.rows, by: block) {
      let count = min(block, samples.rows - begin)
      product(samples, begin, count, original, into: logits)
      product(samples, begin, count, quantized, into: moved)
      logits.withUnsafeBufferPointer { logits in
        moved.withUnsafeBufferPointer { moved in
          for sample in 0..<count {
            let row = sample * vocabulary
            var top = -Float.infinity
            for token in 0..<vocabulary { top = max(top, logits[row + token]) }
            var total: Float = 0
            for token in 0..<vocabulary { total += exp(logits[row + token] - top) }
            for token in 0..<vocabulary {
              // Beyond 30 the cost is past any use, and its exponential past a float.
              let d = min(moved[row + token] - logits[row + token], 30)
              let cost = abs(d) < 0.01 ? Double(0.5 * d * d) : Double(exp(d) - 1 - d)
              unconditional[token] += cost
              expected[token] += cost * Double(exp(logits[row + token] - top) / total)
            }
          }
        }
      }
    }
    let scale = 1 / Double(max(1, samples.rows))
    return zip(expected, unconditional).map {
      LogitCost(expected: $0 * scale, unconditional: $1 * scale)
    }
  }

  /// `Ŵ − W`, of the shape of both.
  static func difference(_ original: FloatMatrix, _ quantized: FloatMatrix) -> FloatMatrix {
    let difference = FloatMatrix(rows: original.rows, columns: original.columns)
    difference.withUnsafeMutableBufferPointer { target in
      original.withUnsafeBufferPointer { w in
        quantized.withUnsafeBufferPointer { q in
          for index in target.indices { target[index] = q[index] - w[index] }
        }
      }
    }
    return difference
  }

  /// `X[begin ..< begin + count] · Wᵀ`.
  private static func product(
    _ samples: FloatMatrix, _ begin: Int, _ count: Int, _ weights: FloatMatrix,
    into output: FloatMatrix
  ) {
    output.withUnsafeMutableBufferPointer { y in
      samples.withUnsafeBufferPointer { x in
        weights.withUnsafeBufferPointer { w in
          cblas_sgemm(
            CblasRowMajor, CblasNoTrans, CblasTrans, Int32(count), Int32(weights.rows),
            Int32(weights.columns), 1, x.baseAddress! + begin * weights.columns,
            Int32(weights.columns), w.baseAddress, Int32(weights.columns), 0, y.baseAddress,
            Int32(weights.rows))
        }
      }
    }
  }
}
