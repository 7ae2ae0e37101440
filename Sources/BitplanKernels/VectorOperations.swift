internal import CBitplanKernels

/// The float operations of a forward pass other than matrix products.
///
/// They use the fastest instructions at hand and return the same bits on every CPU: sums run over
/// 16 lanes (element i in lane i mod 16) that are then added pairwise, and multiply-adds are fused
/// only where that is said. Counts must agree; outputs may be the same memory as inputs.
public enum VectorOperations {
  private nonisolated(unsafe) static let table: UnsafePointer<bp_vector_operations> = {
    guard let table = bp_vector_operations_for(InstructionSet.best.identifier) else {
      preconditionFailure("the scalar operations are part of every build")
    }
    return table
  }()

  /// Results of every operation on the same inputs, by one instruction set: for tests that compare
  /// instruction sets. `a` and `b` have equal counts.
  package static func results(
    _ instructionSet: InstructionSet, _ a: [Float], _ b: [Float]
  ) -> [[Float]]? {
    guard let table = bp_vector_operations_for(instructionSet.identifier) else { return nil }
    let (operations, count) = (table.pointee, Int64(a.count))
    func output(_ body: (UnsafeMutablePointer<Float>?) -> Void) -> [Float] {
      var values = a
      values.withUnsafeMutableBufferPointer { body($0.baseAddress) }
      return values
    }
    return [
      output { operations.rms_norm(a, b, 1e-5, $0, count) },
      output { operations.layer_norm(a, b, b, 1e-5, $0, count) },
      output { operations.softmax($0, count) },
      output { operations.silu_multiply(a, b, $0, count) },
      output { operations.gelu(a, $0, count) },
      output { operations.add(a, b, $0, count) },
      [operations.dot(a, b, count)],
      output { operations.add_scaled(b, 0.3, $0, count) },
      output { operations.rounding_error(a, 32, count, $0) },
      output { operations.rounding_error(a, count, count, $0) },
      output { operations.hadamard($0, count / (count & -count), count) },
    ] + sparseResults(operations, a, b)
  }

  /// Two rows whose entries are all of `a` and all of `b`, against one token and against several.
  private static func sparseResults(
    _ operations: bp_vector_operations, _ a: [Float], _ b: [Float]
  ) -> [[Float]] {
    let count = a.count
    let starts = [0, UInt32(count), UInt32(2 * count)]
    let columns = (0..<2 * count).map { UInt16($0 % count) }
    let values = (a + b).map { UInt16($0.bitPattern >> 16) }
    return [1, 5, 19].map { tokens in
      let blocks = (tokens + sparseLanes - 1) / sparseLanes
      // Token `t` is `t + 1` times `b`.
      let inputs = (0..<tokens * count).map { b[$0 % count] * Float($0 / count + 1) }
      var x = tokens == 1 ? inputs : [Float](repeating: 0, count: blocks * sparseLanes * count)
      for block in 0..<blocks where tokens > 1 {
        inputs.withUnsafeBufferPointer { inputs in
          x.withUnsafeMutableBufferPointer { x in
            guard let source = inputs.baseAddress, let target = x.baseAddress else { return }
            operations.interleave(
              source + block * sparseLanes * count, Int64(count), Int64(count),
              Int64(min(sparseLanes, tokens - block * sparseLanes)),
              target + block * sparseLanes * count)
          }
        }
      }
      var out = [Float](repeating: 1, count: 2 * tokens)
      operations.add_sparse(
        starts, columns, 0, values, 0, 2, x, Int64(count), Int64(tokens), &out, 2)
      return out
    }
  }

  /// `out = x · weight / √(mean(x²) + eps)` (Zhang and Sennrich, arXiv:1910.07467).
  public static func rmsNorm(
    _ x: UnsafeBufferPointer<Float>, weight: UnsafeBufferPointer<Float>, eps: Float,
    into out: UnsafeMutableBufferPointer<Float>
  ) {
    precondition(x.count == weight.count && x.count == out.count, "counts must agree")
    table.pointee.rms_norm(
      x.baseAddress, weight.baseAddress, eps, out.baseAddress, Int64(x.count))
  }

  /// `out = (x − mean) / √(variance + eps) · weight + bias` (Ba et al., arXiv:1607.06450).
  public static func layerNorm(
    _ x: UnsafeBufferPointer<Float>, weight: UnsafeBufferPointer<Float>,
    bias: UnsafeBufferPointer<Float>, eps: Float, into out: UnsafeMutableBufferPointer<Float>
  ) {
    precondition(
      x.count == weight.count && x.count == bias.count && x.count == out.count,
      "counts must agree")
    table.pointee.layer_norm(
      x.baseAddress, weight.baseAddress, bias.baseAddress, eps, out.baseAddress, Int64(x.count))
  }

  /// `x = exp(x − max x) / Σ exp(x − max x)`, in place. The relative error is below
  /// `2^-20 + |x − max x| · 2^-24`.
  public static func softmax(_ x: UnsafeMutableBufferPointer<Float>) {
    table.pointee.softmax(x.baseAddress, Int64(x.count))
  }

  /// `out = a / (1 + exp(−a)) · b`: SwiGLU's product (Shazeer, arXiv:2002.05202).
  public static func siluMultiply(
    _ a: UnsafeBufferPointer<Float>, _ b: UnsafeBufferPointer<Float>,
    into out: UnsafeMutableBufferPointer<Float>
  ) {
    precondition(a.count == b.count && a.count == out.count, "counts must agree")
    table.pointee.silu_multiply(a.baseAddress, b.baseAddress, out.baseAddress, Int64(a.count))
  }

  /// `out = x · (1 + erf(x / √2)) / 2`, the exact form. Error below 1e-6 · |x|.
  public static func gelu(
    _ x: UnsafeBufferPointer<Float>, into out: UnsafeMutableBufferPointer<Float>
  ) {
    precondition(x.count == out.count, "counts must agree")
    table.pointee.gelu(x.baseAddress, out.baseAddress, Int64(x.count))
  }

  /// `out = a + b`.
  public static func add(
    _ a: UnsafeBufferPointer<Float>, _ b: UnsafeBufferPointer<Float>,
    into out: UnsafeMutableBufferPointer<Float>
  ) {
    precondition(a.count == b.count && a.count == out.count, "counts must agree")
    table.pointee.add(a.baseAddress, b.baseAddress, out.baseAddress, Int64(a.count))
  }

  /// `Σ a · b`.
  public static func dot(
    _ a: UnsafeBufferPointer<Float>, _ b: UnsafeBufferPointer<Float>
  ) -> Float {
    precondition(a.count == b.count, "counts must agree")
    return table.pointee.dot(a.baseAddress, b.baseAddress, Int64(a.count))
  }

  /// `out += scale · x`, product and sum rounded apart.
  public static func addScaled(
    _ x: UnsafeBufferPointer<Float>, by scale: Float,
    into out: UnsafeMutableBufferPointer<Float>
  ) {
    precondition(x.count == out.count, "counts must agree")
    table.pointee.add_scaled(x.baseAddress, scale, out.baseAddress, Int64(x.count))
  }

  /// Elements of a row of ``addProducts(_:stride:of:depth:into:count:)``.
  public static let productLanes = Int(BP_PRODUCT_LANES)

  /// `out[i] += Σ_k factors[k · stride + i] · x[k]`: some rows of a symmetric matrix, given by its
  /// columns, times the rows of `x`. Each product is fused with its sum, in the order of `k`.
  ///
  /// - Parameters:
  ///   - factors: `depth` rows of `count` elements, `stride` apart.
  ///   - x: `[depth, productLanes]`.
  ///   - out: `[count, productLanes]`.
  public static func addProducts(
    _ factors: UnsafePointer<Float>, stride: Int, of x: UnsafePointer<Float>, depth: Int,
    into out: UnsafeMutablePointer<Float>, count: Int
  ) {
    table.pointee.add_products(factors, Int64(stride), x, Int64(depth), out, Int64(count))
  }

  /// Tokens that lie side by side for ``addSparse``.
  static let sparseLanes = Int(BP_SPARSE_LANES)

  /// Adds some rows of a sparse matrix times tokens to their outputs, as `bp_vector_operations` says.
  static func addSparse(
    _ starts: UnsafePointer<UInt32>, _ columns: UnsafeRawPointer, isWide: Bool,
    _ values: UnsafePointer<UInt16>, rows: Range<Int>, _ x: UnsafePointer<Float>?,
    columnCount: Int, tokens: Int, into out: UnsafeMutablePointer<Float>?, stride: Int
  ) {
    table.pointee.add_sparse(
      starts, columns, isWide ? 1 : 0, values, Int64(rows.lowerBound), Int64(rows.upperBound), x,
      Int64(columnCount), Int64(tokens), out, Int64(stride))
  }

  /// One block of tokens of `x` as ``addSparse`` wants it, as `bp_vector_operations` says.
  static func interleave(
    _ x: UnsafePointer<Float>, columnCount: Int, tokens: Int, into out: UnsafeMutablePointer<Float>
  ) {
    table.pointee.interleave(x, Int64(columnCount), Int64(columnCount), Int64(tokens), out)
  }

  /// `out = x − code · scale`: what quantizing activations to 8 bits with one scale for every
  /// `groupSize` values leaves of them. The last group may be shorter.
  public static func roundingError(
    of x: UnsafeBufferPointer<Float>, groupSize: Int, into out: UnsafeMutableBufferPointer<Float>
  ) {
    precondition(x.count == out.count && groupSize > 0, "counts must agree")
    table.pointee.rounding_error(
      x.baseAddress, Int64(groupSize), Int64(x.count), out.baseAddress)
  }

  /// The Walsh–Hadamard transform of the runs of `stride` elements of `x`, in place and not scaled:
  /// with `n = x.count / stride` runs, a power of two, run `i` becomes `Σ_j ± run j`, the signs being
  /// those of Hadamard's matrix of size `n`.
  ///
  /// - Complexity: O(`x.count` · log `n`).
  public static func hadamard(_ x: UnsafeMutableBufferPointer<Float>, stride: Int) {
    guard !x.isEmpty else { return }
    let runs = stride > 0 ? x.count / stride : 0
    precondition(
      runs > 0 && runs * stride == x.count && runs & (runs - 1) == 0,
      "runs must fill the vector, and their number be a power of two")
    table.pointee.hadamard(x.baseAddress, Int64(stride), Int64(x.count))
  }

  /// `scores[i] = scale · Σ query · keys[i]`: one query against the rows of a KV cache.
  ///
  /// - Parameters:
  ///   - query: one head, `[size]`.
  ///   - keys: key `i` starts at element `i · stride` and is as long as the query.
  ///   - scores: one element for every key.
  public static func keyScores(
    _ query: UnsafeBufferPointer<Float>, keys: UnsafeBufferPointer<Float>, stride: Int,
    scale: Float, into scores: UnsafeMutableBufferPointer<Float>
  ) {
    guard !scores.isEmpty else { return }
    precondition(
      stride >= 0 && keys.count >= (scores.count - 1) * stride + query.count, "too few keys")
    table.pointee.key_scores(
      query.baseAddress, keys.baseAddress, Int64(stride), Int64(scores.count), Int64(query.count),
      scale, scores.baseAddress)
  }

  /// `out = Σ weights[i] · rows[i]`: the values of a KV cache, weighted.
  ///
  /// - Parameters:
  ///   - weights: one element for every row.
  ///   - rows: row `i` starts at element `i · stride` and is as long as the output.
  ///   - out: `[size]`; overwritten.
  public static func weightedSum(
    _ weights: UnsafeBufferPointer<Float>, rows: UnsafeBufferPointer<Float>, stride: Int,
    into out: UnsafeMutableBufferPointer<Float>
  ) {
    precondition(
      weights.isEmpty
        || (stride >= 0 && rows.count >= (weights.count - 1) * stride + out.count), "too few rows")
    table.pointee.weighted_sum(
      weights.baseAddress, rows.baseAddress, Int64(stride), Int64(weights.count), Int64(out.count),
      out.baseAddress)
  }
}
