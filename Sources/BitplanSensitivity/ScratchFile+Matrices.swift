internal import BitplanCheckpoint
internal import BitplanKernels

/// Matrices that wait in a scratch file.
extension ScratchFile {
  /// Appends the first `rows` rows of `matrix` and returns where they lie.
  func append(_ matrix: FloatMatrix, rows: Int) throws -> Range<Int> {
    try matrix.withUnsafeBufferPointer { values in
      let part = UnsafeBufferPointer(rebasing: values[..<(rows * matrix.columns)])
      return try append(UnsafeRawBufferPointer(part))
    }
  }

  /// Reads a matrix back.
  func matrix(_ range: Range<Int>, rows: Int, columns: Int) throws -> FloatMatrix {
    let result = FloatMatrix(rows: rows, columns: columns)
    try result.withUnsafeMutableBufferPointer {
      try read(range, into: UnsafeMutableRawBufferPointer($0))
    }
    return result
  }
}
