public import BitplanKernels
internal import CBLAS

/// How far quantized weights move an operator's output.
public enum OutputError {
  /// `‖X (Ŵ − W)ᵀ‖² / ‖X Wᵀ‖²` over the sampled inputs, or 0 where the output is 0.
  ///
  /// - Parameters:
  ///   - original: `W`, `[outputFeatures, inputFeatures]`.
  ///   - quantized: `Ŵ`, dequantized, of the same shape.
  ///   - samples: `X`, `[samples, inputFeatures]`.
  public static func relative(
    original: FloatMatrix, quantized: FloatMatrix, samples: FloatMatrix
  ) -> Double {
    precondition(original.rows == quantized.rows && original.columns == quantized.columns)
    precondition(samples.columns == original.columns, "samples are inputs of this operator")
    let difference = FloatMatrix(rows: original.rows, columns: original.columns)
    difference.withUnsafeMutableBufferPointer { target in
      original.withUnsafeBufferPointer { w in
        quantized.withUnsafeBufferPointer { q in
          for index in target.indices { target[index] = q[index] - w[index] }
        }
      }
    }
    let signal = squaredNorm(samples, original)
    return signal > 0 ? squaredNorm(samples, difference) / signal : 0
  }

  /// `‖X Wᵀ‖²`.
  private static func squaredNorm(_ samples: FloatMatrix, _ weights: FloatMatrix) -> Double {
    guard samples.rows > 0 else { return 0 }
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
    }
    return output.withUnsafeBufferPointer { $0.reduce(0.0) { $0 + Double($1) * Double($1) } }
  }
}
