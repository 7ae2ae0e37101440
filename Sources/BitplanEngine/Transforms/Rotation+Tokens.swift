import BitplanCore
public import BitplanKernels
import CBLAS

extension Rotation {
  /// What turning tokens while a model runs needs, as `Float`.
  struct TokenForm: Sendable {
    /// `[1, size]`: signs, with the Hadamard matrix's scale; `nil` beside ``slow``.
    let factors: FloatMatrix?
    /// `[slowSize, slowSize]`, in place of a Hadamard matrix.
    let slow: FloatMatrix?
    /// `[fastSize, fastSize]`.
    let fast: FloatMatrix

    init(signs: [Double], slowSize: Int, fast: [Double], fastSize: Int) {
      let scale = 1 / Double(slowSize).squareRoot()
      factors = FloatMatrix(
        rows: 1, columns: signs.count, values: signs.map { Float($0 * scale) })
      slow = nil
      self.fast = FloatMatrix(rows: fastSize, columns: fastSize, values: fast.map { Float($0) })
    }

    init(slow: FloatMatrix, fast: FloatMatrix) {
      factors = nil
      (self.slow, self.fast) = (slow, fast)
    }
  }

  /// Floats of tokens that go through together: they stay in the first-level cache.
  private static let chunkFloats = 8_192

  /// `x ← x · R` for the first `tokenCount` rows, in place, in `Float`; threads share the tokens.
  ///
  /// The result does not depend on the thread count, nor on how tokens are put together, up to float
  /// rounding.
  ///
  /// - Parameter x: `[≥ tokenCount, size]`.
  /// - Complexity: O(`tokenCount` · `size` · (log `slowSize` + `fastSize`)), with two given matrices
  ///   O(`tokenCount` · `size` · (`slowSize` + `fastSize`)).
  public func turn(_ x: FloatMatrix, tokenCount: Int, _ pool: ThreadPool) {
    turn(x, tokenCount, pool) { rows, count, scratch in
      if let factors = tokenForm.factors {
        applyHadamard(rows, count, factors, isScaledFirst: true)
      }
      multiplyFast(rows, count, into: scratch, transposed: false)
      multiplySlow(scratch, count, into: rows, transposed: true)
    }
  }

  /// `x ← x · Rᵀ`, which undoes ``turn(_:tokenCount:_:)``: gradients go back this way.
  ///
  /// - Parameter x: `[≥ tokenCount, size]`.
  public func turnBack(_ x: FloatMatrix, tokenCount: Int, _ pool: ThreadPool) {
    turn(x, tokenCount, pool) { rows, count, scratch in
      multiplyFast(rows, count, into: scratch, transposed: true)
      multiplySlow(scratch, count, into: rows, transposed: false)
      if let factors = tokenForm.factors {
        applyHadamard(rows, count, factors, isScaledFirst: false)
      }
    }
  }

  /// Calls `body` with the address of some rows, their number, and as much scratch memory.
  private func turn(
    _ x: FloatMatrix, _ tokenCount: Int, _ pool: ThreadPool,
    _ body: @Sendable (Floats, Int, Floats) -> Void
  ) {
    precondition(
      x.columns == size && tokenCount <= x.rows, "a rotation turns rows of as many features")
    FloatProduct.prepare()
    let chunk = max(1, Self.chunkFloats / size)
    RowWork.forEach(tokenCount, elementsPerRow: 4 * size, pool) { part in
      x.withAddress { x in
        withUnsafeTemporaryAllocation(of: Float.self, capacity: chunk * size) { scratch in
          for first in stride(from: part.lowerBound, to: part.upperBound, by: chunk) {
            let count = min(chunk, part.upperBound - first)
            body(x + first * size, count, scratch.baseAddress!)
          }
        }
      }
    }
  }

  /// Signs and scale, and the Hadamard matrix over the slow index: it is its own transpose.
  private func applyHadamard(
    _ rows: Floats, _ count: Int, _ factors: FloatMatrix, isScaledFirst: Bool
  ) {
    factors.withAddress { factors in
      for row in 0..<count {
        let x = rows + row * size
        if isScaledFirst { VectorMath.multiply(x, by: factors, size) }
        VectorOperations.hadamard(
          UnsafeMutableBufferPointer(start: x, count: size), stride: fastSize)
        if !isScaledFirst { VectorMath.multiply(x, by: factors, size) }
      }
    }
  }

  /// The dense matrix, or its transpose, over the fast index.
  private func multiplyFast(
    _ rows: Floats, _ count: Int, into result: Floats, transposed: Bool
  ) {
    let (runs, n) = (Int32(count * slowSize), Int32(fastSize))
    tokenForm.fast.withAddress { fast in
      cblas_sgemm(
        CblasRowMajor, CblasNoTrans, transposed ? CblasTrans : CblasNoTrans, runs, n, n, 1, rows,
        n, fast, n, 0, result, n)
    }
  }

  /// The given matrix, or its transpose, over the slow index; a copy where there is none.
  private func multiplySlow(
    _ rows: Floats, _ count: Int, into result: Floats, transposed: Bool
  ) {
    guard let slow = tokenForm.slow else {
      result.update(from: rows, count: count * size)
      return
    }
    let (n, run) = (Int32(slowSize), Int32(fastSize))
    slow.withAddress { slow in
      for row in 0..<count {
        cblas_sgemm(
          CblasRowMajor, transposed ? CblasTrans : CblasNoTrans, CblasNoTrans, n, run, n, 1, slow,
          n, rows + row * size, run, 0, result + row * size, run)
      }
    }
  }
}
