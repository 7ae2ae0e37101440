import BitplanKernels
import CBLAS

/// Scaled dot-product attention over heads that may share keys and values (grouped queries).
struct Attention {
  /// Where one operand lies: the element of (head, row, feature) is at
  /// `head · headStride + row · rowStride + feature`.
  struct Layout: Sendable {
    let headStride: Int
    let rowStride: Int
  }

  let headCount: Int
  let keyValueHeadCount: Int
  let headSize: Int
  /// Whether a query sees only its own position and those before it.
  let isCausal: Bool
  /// `[threads · queryBlock, capacity]`: scores of the block that a thread works on.
  private let scores: FloatMatrix
  /// `[threads · capacity, headSize]`: keys and values that a thread has restored from codes.
  private let restored: (keys: FloatMatrix, values: FloatMatrix)?
  private let capacity: Int

  /// Queries of a block: their scores against all keys are in flight at once.
  private static let queryBlock = 64
  /// Fewer tokens than this are attended by plain loops: a BLAS call would cost more.
  private static let smallestBlock = 8

  /// Keys and values as codes.
  struct QuantizedOperands: Sendable {
    let keys: QuantizedCache
    let values: QuantizedCache
  }

  /// Makes the buffers for up to `capacity` keys and `threads` threads.
  ///
  /// - Parameter readsCodes: whether ``run`` will be given codes.
  init(
    headCount: Int, keyValueHeadCount: Int, headSize: Int, isCausal: Bool, capacity: Int,
    threads: Int, readsCodes: Bool = false
  ) {
    self.headCount = headCount
    self.keyValueHeadCount = keyValueHeadCount
    self.headSize = headSize
    self.isCausal = isCausal
    self.capacity = capacity
    scores = FloatMatrix(rows: threads * Self.queryBlock, columns: capacity)
    func buffer() -> FloatMatrix { FloatMatrix(rows: threads * capacity, columns: headSize) }
    restored = readsCodes ? (buffer(), buffer()) : nil
  }

  /// `output[t, head] = Σ_s softmax_s(q[t, head] · k[s] / √headSize) · v[s]`.
  ///
  /// - Parameters:
  ///   - queries: `[≥ count, headCount · headSize]`, positions `position ..< position + count`.
  ///   - keys: at least `position + count` rows, laid out as `layout` says.
  ///   - values: as `keys`.
  ///   - quantized: keys and values as codes, in place of `keys` and `values`.
  ///   - output: `[≥ count, headCount · headSize]`.
  func run(
    queries: FloatMatrix, keys: FloatMatrix, values: FloatMatrix,
    quantized: QuantizedOperands? = nil, layout: Layout, count: Int, position: Int,
    into output: FloatMatrix, _ pool: ThreadPool
  ) {
    FloatProduct.prepare()
    let keyCount = position + count
    precondition(keyCount <= capacity, "more keys than the buffers hold")
    let blocks = (count + Self.queryBlock - 1) / Self.queryBlock
    let tasks = headCount * blocks
    let work = headCount * count * keyCount * headSize * 2
    // Large blocks first and neighbours on different threads: causal blocks differ in length.
    @Sendable func run(task: Int, thread: Int) {
      let (head, block) = (task % headCount, blocks - 1 - task / headCount)
      let first = block * Self.queryBlock
      let shared = head * keyValueHeadCount / headCount
      var (keys, values, layout, source) = (keys, values, layout, shared)
      if let quantized, let restored {
        // Causal blocks see no key after their last query.
        let visible = isCausal ? position + min(first + Self.queryBlock, count) : keyCount
        (keys, values, source) = (restored.keys, restored.values, thread)
        layout = Layout(headStride: capacity * headSize, rowStride: headSize)
        withAddresses(keys, values) { keys, values in
          let begin = thread * layout.headStride
          quantized.keys.load(head: shared, count: visible, into: keys + begin)
          quantized.values.load(head: shared, count: visible, into: values + begin)
        }
      }
      withAddresses(queries, keys, values, output) { queries, keys, values, output in
        scores.withAddress { scores in
          let operands = Operands(
            queries: queries + first * headCount * headSize + head * headSize,
            keys: keys + source * layout.headStride, values: values + source * layout.headStride,
            output: output + first * headCount * headSize + head * headSize,
            scores: scores + thread * Self.queryBlock * capacity, rowStride: layout.rowStride)
          let queryCount = min(Self.queryBlock, count - first)
          if queryCount < Self.smallestBlock {
            attendRows(operands, queryCount, position: position + first, keyCount: keyCount)
          } else {
            attendBlock(operands, queryCount, position: position + first, keyCount: keyCount)
          }
        }
      }
    }
    pool.deal(tasks, isWorthwhile: work >= 1 << 16, run)
  }

  /// Addresses of one head's operands, inside one task.
  private struct Operands {
    let queries: Floats
    let keys: Floats
    let values: Floats
    let output: Floats
    let scores: Floats
    let rowStride: Int
  }

  /// One row at a time, by dot products: decode.
  @inline(__always)
  private func attendRows(_ o: Operands, _ queryCount: Int, position: Int, keyCount: Int) {
    let factor = 1 / Float(headSize).squareRoot()
    let stride = headCount * headSize
    for row in 0..<queryCount {
      let visible = isCausal ? position + row + 1 : keyCount
      let cached = (visible - 1) * o.rowStride + headSize
      let scores = UnsafeMutableBufferPointer(start: o.scores, count: visible)
      VectorOperations.keyScores(
        UnsafeBufferPointer(start: o.queries + row * stride, count: headSize),
        keys: UnsafeBufferPointer(start: o.keys, count: cached), stride: o.rowStride,
        scale: factor, into: scores)
      VectorOperations.softmax(scores)
      VectorOperations.weightedSum(
        UnsafeBufferPointer(scores),
        rows: UnsafeBufferPointer(start: o.values, count: cached), stride: o.rowStride,
        into: UnsafeMutableBufferPointer(start: o.output + row * stride, count: headSize))
    }
  }

  /// A block of queries against every key that one of them may see, by BLAS: prefill.
  private func attendBlock(_ o: Operands, _ queryCount: Int, position: Int, keyCount: Int) {
    let factor = 1 / Float(headSize).squareRoot()
    let stride = Int32(headCount * headSize)
    let visible = isCausal ? position + queryCount : keyCount
    cblas_sgemm(
      CblasRowMajor, CblasNoTrans, CblasTrans, Int32(queryCount), Int32(visible), Int32(headSize),
      factor, o.queries, stride, o.keys, Int32(o.rowStride), 0, o.scores, Int32(capacity))
    for row in 0..<queryCount {
      let line = o.scores + row * capacity
      let own = isCausal ? position + row + 1 : keyCount
      VectorOperations.softmax(UnsafeMutableBufferPointer(start: line, count: own))
      if own < visible { (line + own).update(repeating: 0, count: visible - own) }
    }
    cblas_sgemm(
      CblasRowMajor, CblasNoTrans, CblasNoTrans, Int32(queryCount), Int32(headSize),
      Int32(visible), 1, o.scores, Int32(capacity), o.values, Int32(o.rowStride), 0, o.output,
      stride)
  }
}
