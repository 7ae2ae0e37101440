internal import BitplanKernels
internal import CBLAS

/// The factor that error feedback needs, in tiles that depend on the size alone: any number of
/// threads gives the same bits.
enum TriangularFactor {
  /// Rows and columns of a tile.
  private static let tile = 512

  /// Writes the unit upper triangular `M` with `P·H·Pᵀ = M · D · Mᵀ`, where `P` puts rows and columns
  /// in `order`; zeros below the diagonal.
  ///
  /// - Returns: whether `H` is positive definite; if not, `factor` holds no result.
  static func makeUnitUpper(
    of matrix: FloatMatrix, in order: [Int], into factor: FloatMatrix, _ pool: ThreadPool
  ) -> Bool {
    let size = matrix.columns
    openblas_set_num_threads(1)
    // Cholesky gives a lower factor; with rows and columns in reverse it is the upper one.
    let source = Address(base: matrix)
    let target = Address(base: factor)
    pool.deal(size) { row, _ in
      let (to, from) = (target.base + row * size, source.base + order[size - 1 - row] * size)
      for column in 0...row { to[column] = from[order[size - 1 - column]] }
    }
    guard cholesky(factor, pool) else { return false }
    // Element (i, j) stands where (n−1−i, n−1−j) stood, over the pivot of its column.
    let pivots = (0..<size).map { 1 / target.base[$0 * (size + 1)] }
    pool.deal((size + 1) / 2) { row, _ in
      let (upper, lower) = (target.base + row * size, target.base + (size - 1 - row) * size)
      for column in 0..<(row == size - 1 - row ? (size + 1) / 2 : size) {
        let (here, there) = (upper[column], lower[size - 1 - column])
        upper[column] = there * pivots[size - 1 - column]
        lower[size - 1 - column] = here * pivots[column]
      }
      upper.update(repeating: 0, count: row)
      lower.update(repeating: 0, count: size - 1 - row)
    }
    return true
  }

  /// The lower Cholesky factor, in place; what is above the diagonal stays.
  private static func cholesky(_ matrix: FloatMatrix, _ pool: ThreadPool) -> Bool {
    let size = matrix.columns
    return matrix.withUnsafeMutableBufferPointer { buffer in
      guard let base = buffer.baseAddress else { return true }
      let a = Address(base: base)
      for begin in stride(from: 0, to: size, by: tile) {
        let count = min(tile, size - begin)
        // What LAPACK takes for the upper triangle by columns is the lower one by rows.
        var (triangle, order, stride_, info) = (
          CChar(UInt8(ascii: "U")), Int32(count), Int32(size), Int32(0)
        )
        spotrf_(&triangle, &order, a.base + begin * size + begin, &stride_, &info, 1)
        guard info == 0 else { return false }
        let rest = Array(stride(from: begin + count, to: size, by: tile))
        pool.deal(rest.count) { index, _ in
          let row = rest[index]
          cblas_strsm(
            CblasRowMajor, CblasRight, CblasLower, CblasTrans, CblasNonUnit,
            Int32(min(tile, size - row)), Int32(count), 1, a.base + begin * size + begin,
            Int32(size), a.base + row * size + begin, Int32(size))
        }
        let pairs = rest.flatMap { row in rest.filter { $0 <= row }.map { (row, $0) } }
        pool.deal(pairs.count) { index, _ in
          let (row, column) = pairs[index]
          cblas_sgemm(
            CblasRowMajor, CblasNoTrans, CblasTrans, Int32(min(tile, size - row)),
            Int32(min(tile, size - column)), Int32(count), -1, a.base + row * size + begin,
            Int32(size), a.base + column * size + begin, Int32(size), 1,
            a.base + row * size + column, Int32(size))
        }
      }
      return true
    }
  }

  /// Shared by the threads, which write disjoint tiles or rows of a matrix that is kept meanwhile.
  private struct Address: @unchecked Sendable {
    let base: UnsafeMutablePointer<Float>

    init(base: UnsafeMutablePointer<Float>) { self.base = base }

    init(base matrix: FloatMatrix) {
      base = matrix.withUnsafeMutableBufferPointer { $0.baseAddress! }
    }
  }
}
