internal import BitplanKernels
internal import CBLAS

/// Float products by BLAS.
enum FloatProducts {
  /// `a · b`, or `a · bᵀ`.
  static func product(_ a: FloatMatrix, _ b: FloatMatrix, transposed: Bool) -> FloatMatrix {
    let (inner, columns) = transposed ? (b.columns, b.rows) : (b.rows, b.columns)
    precondition(a.columns == inner, "inner sizes agree")
    let result = FloatMatrix(rows: a.rows, columns: columns)
    guard a.rows > 0, columns > 0, inner > 0 else { return result }
    a.withUnsafeBufferPointer { a in
      b.withUnsafeBufferPointer { b in
        result.withUnsafeMutableBufferPointer { c in
          cblas_sgemm(
            CblasRowMajor, CblasNoTrans, transposed ? CblasTrans : CblasNoTrans,
            Int32(result.rows), Int32(columns), Int32(inner), 1, a.baseAddress, Int32(inner),
            b.baseAddress, Int32(transposed ? inner : columns), 0, c.baseAddress, Int32(columns))
        }
      }
    }
    return result
  }
}
