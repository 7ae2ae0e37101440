public import BitplanKernels
internal import CBLAS

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
    let difference = FloatMatrix(rows: original.rows, columns: original.columns)
    difference.withUnsafeMutableBufferPointer { target in
      original.withUnsafeBufferPointer { w in
        quantized.withUnsafeBufferPointer { q in
          for index in target.indices { target[index] = q[index] - w[index] }
        }
      }
    }
    return meanSquaredOutput(difference, samples: samples)
  }

  /// Mean over the samples of `(W_r · x)²`, for every output feature `r`.
  public static func meanSquaredOutput(_ weights: FloatMatrix, samples: FloatMatrix) -> [Double] {
    precondition(samples.columns == weights.columns, "samples are inputs of this operator")
    var sums = [Double](repeating: 0, count: weights.rows)
    guard samples.rows > 0 else { return sums }
    let output = FloatMatrix(rows: samples.rows, columns: weights.rows)
    output.withUnsafeMutableBufferPointer { y in
      samples.withUnsafeBufferPointer { x in
        weights.withUnsafeBufferPointer { w in
          cblas_sgemm(
            CblasRowMajor, CblasNoTrans, CblasTrans, Int32(samples.rows), Int32(weights.rows),
            Int32(weights.columns), 1, x.baseAddress, Int32(samples.columns), w.baseAddress,
            Int32(weights.columns), 0, y.baseAddress, Int32(weights.rows))
        }
      }
      for sample in 0..<samples.rows {
        for row in 0..<weights.rows {
          let value = Double(y[sample * weights.rows + row])
          sums[row] += value * value
        }
      }
    }
    return sums.map { $0 / Double(samples.rows) }
  }
}
