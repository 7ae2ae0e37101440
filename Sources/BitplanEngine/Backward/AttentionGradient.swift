import BitplanKernels
import CBLAS

/// Reverse mode of scaled dot-product attention over one whole sequence.
struct AttentionGradient {
  let headCount: Int
  let keyValueHeadCount: Int
  let headSize: Int
  let isCausal: Bool
  /// `[threads · 2 · capacity, capacity]`: probabilities and their gradient, one pair a thread.
  private let scratch: FloatMatrix
  private let capacity: Int

  init(
    headCount: Int, keyValueHeadCount: Int, headSize: Int, isCausal: Bool, capacity: Int,
    threads: Int
  ) {
    self.headCount = headCount
    self.keyValueHeadCount = keyValueHeadCount
    self.headSize = headSize
    self.isCausal = isCausal
    self.capacity = capacity
    scratch = FloatMatrix(rows: threads * 2 * capacity, columns: capacity)
  }

  /// Operands of the forward pass.
  struct Forward: Sendable {
    /// `[≥ count, headCount · headSize]`.
    let queries: FloatMatrix
    let keys: FloatMatrix
    let values: FloatMatrix
    /// Where a head's keys and values lie.
    let layout: Attention.Layout
  }

  /// Gradients, each row-major with the heads of a token side by side; overwritten.
  struct Gradients: Sendable {
    /// `[≥ count, headCount · headSize]`.
    let queries: FloatMatrix
    /// `[≥ count, keyValueHeadCount · headSize]`.
    let keys: FloatMatrix
    /// As ``keys``.
    let values: FloatMatrix
  }

  /// Probabilities are computed again; with `P = softmax(S)`, `S = Q Kᵀ / √d`:
  /// `dV = Pᵀ dO`, `dP = dO Vᵀ`, `dS = P · (dP − Σ dP·P)`, `dQ = dS K / √d`, `dK = dSᵀ Q / √d`.
  ///
  /// - Parameter outputGradient: `[≥ count, headCount · headSize]`.
  func run(
    _ forward: Forward, outputGradient: FloatMatrix, into gradients: Gradients, count: Int,
    _ pool: ThreadPool
  ) {
    FloatProduct.prepare()
    precondition(count <= capacity, "more tokens than the buffers hold")
    let group = headCount / keyValueHeadCount
    let (layout, scratch, capacity) = (forward.layout, scratch, capacity)
    let queryStride = headCount * headSize
    let keyStride = keyValueHeadCount * headSize
    // One task for every key and value head: its queries' heads add to the same gradients.
    @Sendable func run(head: Int, thread: Int) {
      withAddresses(forward.queries, forward.keys, forward.values, outputGradient) {
        queries, keys, values, dOutput in
        withAddresses(gradients.queries, gradients.keys, gradients.values, scratch) {
          dQueries, dKeys, dValues, scratch in
          let probabilities = scratch + thread * 2 * capacity * capacity
          let keys = keys + head * layout.headStride
          let values = values + head * layout.headStride
          for member in 0..<group {
            let column = (head * group + member) * headSize
            headGradient(
              Addresses(
                queries: queries + column, keys: keys, values: values, dOutput: dOutput + column,
                dQueries: dQueries + column, dKeys: dKeys + head * headSize,
                dValues: dValues + head * headSize, probabilities: probabilities,
                dScores: probabilities + capacity * capacity),
              count: count, queryStride: Int32(queryStride), keyStride: Int32(keyStride),
              rowStride: Int32(layout.rowStride), isFirst: member == 0)
          }
        }
      }
    }
    let work = headCount * count * count * headSize * 4
    pool.deal(keyValueHeadCount, isWorthwhile: work >= 1 << 16, run)
  }

  /// One query head's operands, inside one task.
  private struct Addresses {
    let queries: Floats
    let keys: Floats
    let values: Floats
    let dOutput: Floats
    let dQueries: Floats
    let dKeys: Floats
    let dValues: Floats
    let probabilities: Floats
    let dScores: Floats
  }

  private func headGradient(
    _ a: Addresses, count: Int, queryStride: Int32, keyStride: Int32, rowStride: Int32,
    isFirst: Bool
  ) {
    let (n, d) = (Int32(count), Int32(headSize))
    let factor = 1 / Float(headSize).squareRoot()
    let addition: Float = isFirst ? 0 : 1
    cblas_sgemm(
      CblasRowMajor, CblasNoTrans, CblasTrans, n, n, d, factor, a.queries, queryStride, a.keys,
      rowStride, 0, a.probabilities, n)
    cblas_sgemm(
      CblasRowMajor, CblasNoTrans, CblasTrans, n, n, d, 1, a.dOutput, queryStride, a.values,
      rowStride, 0, a.dScores, n)
    for row in 0..<count {
      let (p, ds) = (a.probabilities + row * count, a.dScores + row * count)
      let visible = isCausal ? row + 1 : count
      VectorOperations.softmax(UnsafeMutableBufferPointer(start: p, count: visible))
      let mean = VectorMath.dot(p, ds, visible)
      for column in 0..<visible { ds[column] = p[column] * (ds[column] - mean) }
      if visible < count {
        (p + visible).update(repeating: 0, count: count - visible)
        (ds + visible).update(repeating: 0, count: count - visible)
      }
    }
    cblas_sgemm(
      CblasRowMajor, CblasTrans, CblasNoTrans, n, d, n, 1, a.probabilities, n, a.dOutput,
      queryStride, addition, a.dValues, keyStride)
    cblas_sgemm(
      CblasRowMajor, CblasNoTrans, CblasNoTrans, n, d, n, factor, a.dScores, n, a.keys, rowStride,
      0, a.dQueries, queryStride)
    cblas_sgemm(
      CblasRowMajor, CblasTrans, CblasNoTrans, n, d, n, factor, a.dScores, n, a.queries,
      queryStride, addition, a.dKeys, keyStride)
  }
}
