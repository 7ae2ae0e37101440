public import BitplanKernels
internal import CBLAS
internal import Foundation

/// How far quantized weights move an operator's outputs on sampled inputs.
public enum OutputError {
  /// Rows that one product takes: fixed, so that results do not depend on the number of threads.
  private static let blockRows = 64

  /// Mean over the samples of `((Ŵ_r − W_r) · x)²`, for every output feature `r`.
  ///
  /// - Parameters:
  ///   - original: `W`, `[outputFeatures, inputFeatures]`.
  ///   - quantized: `Ŵ`, dequantized, of the same shape.
  ///   - samples: `X`, `[samples, inputFeatures]`.
  ///   - pool: threads that share the rows.
  public static func meanSquared(
    original: FloatMatrix, quantized: FloatMatrix, samples: FloatMatrix, pool: ThreadPool
  ) -> [Double] {
    precondition(original.rows == quantized.rows && original.columns == quantized.columns)
    return meanSquaredOutput(difference(original, quantized), samples: samples, pool: pool)
  }

  /// Mean over the samples of `(W_r · x)²`, for every output feature `r`.
  public static func meanSquaredOutput(
    _ weights: FloatMatrix, samples: FloatMatrix, pool: ThreadPool
  ) -> [Double] {
    precondition(samples.columns == weights.columns, "samples are inputs of this operator")
    guard samples.rows > 0 else { return [Double](repeating: 0, count: weights.rows) }
    return byRowBlocks(weights.rows, width: samples.rows, pool) { rows, output, result in
      product(weights, rows, samples, into: output)
      for row in 0..<rows.count {
        var sum = 0.0
        for sample in 0..<samples.rows {
          let value = Double(output[row * samples.rows + sample])
          sum += value * value
        }
        result[row] = sum / Double(samples.rows)
      }
    }
  }

  /// One number a row, computed in blocks of rows on the pool's threads.
  ///
  /// - Parameter body: given the rows of a block, `[rows, width]` of work space and where the rows'
  ///   numbers go.
  static func byRowBlocks(
    _ rowCount: Int, width: Int, _ pool: ThreadPool,
    _ body:
      @Sendable (
        _ rows: Range<Int>, _ work: UnsafeMutablePointer<Float>,
        _ result: UnsafeMutablePointer<Double>
      ) -> Void
  ) -> [Double] {
    openblas_set_num_threads(1)
    let work = (0..<pool.threadCount).map { _ in
      FloatMatrix(rows: min(blockRows, max(1, rowCount)), columns: max(1, width))
    }
    return [Double](unsafeUninitializedCapacity: rowCount) { buffer, count in
      let result = RowResults(base: buffer.baseAddress)
      pool.deal((rowCount + blockRows - 1) / blockRows) { block, thread in
        let rows = block * blockRows..<min((block + 1) * blockRows, rowCount)
        guard let base = result.base else { return }
        work[thread].withUnsafeMutableBufferPointer { work in
          guard let space = work.baseAddress else { return }
          body(rows, space, base + rows.lowerBound)
        }
      }
      count = rowCount
    }
  }

  /// `@unchecked Sendable`: every block writes numbers of its own.
  private struct RowResults: @unchecked Sendable { let base: UnsafeMutablePointer<Double>? }

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
  ///   - pool: threads that share the samples.
  public static func logitCosts(
    original: FloatMatrix, quantized: FloatMatrix, samples: FloatMatrix, pool: ThreadPool
  ) -> [LogitCost] {
    precondition(original.rows == quantized.rows && original.columns == quantized.columns)
    precondition(samples.columns == original.columns, "samples are inputs of the head")
    let vocabulary = original.rows
    // Blocks of samples, dealt over threads, in parts of a fixed number that are added up in order:
    // the sums do not depend on the number of threads.
    let parts = (0..<Self.partCount).map { _ in LogitSums(vocabulary: vocabulary) }
    let block = min(32, max(1, samples.rows))
    openblas_set_num_threads(1)
    let work = (0..<pool.threadCount).map { _ in
      (
        logits: FloatMatrix(rows: block, columns: vocabulary),
        moved: FloatMatrix(rows: block, columns: vocabulary)
      )
    }
    pool.deal(Self.partCount) { part, thread in
      let (logits, moved) = work[thread]
      for begin in stride(from: part * block, to: samples.rows, by: block * Self.partCount) {
        let count = min(block, samples.rows - begin)
        let rows = begin..<begin + count
        logits.withUnsafeMutableBufferPointer {
          product(samples, rows, original, into: $0.baseAddress)
        }
        moved.withUnsafeMutableBufferPointer {
          product(samples, rows, quantized, into: $0.baseAddress)
        }
        for sample in 0..<count { parts[part].add(sample, logits, moved) }
      }
    }
    let scale = 1 / Double(max(1, samples.rows))
    return (0..<vocabulary).map { token in
      LogitCost(
        expected: parts.reduce(0) { $0 + $1.expected[token] } * scale,
        unconditional: parts.reduce(0) { $0 + $1.unconditional[token] } * scale)
    }
  }

  private static let partCount = 4

  /// Sums over some samples, one for every logit.
  ///
  /// `@unchecked Sendable`: a part belongs to the one thread that works on it.
  private final class LogitSums: @unchecked Sendable {
    private(set) var expected: [Double]
    private(set) var unconditional: [Double]

    init(vocabulary: Int) {
      expected = [Double](repeating: 0, count: vocabulary)
      unconditional = expected
    }

    func add(_ sample: Int, _ logits: FloatMatrix, _ moved: FloatMatrix) {
      let row = sample * expected.count
      logits.withUnsafeBufferPointer { logits in
        moved.withUnsafeBufferPointer { moved in
          var top = -Float.infinity
          for token in expected.indices { top = max(top, logits[row + token]) }
          var total: Float = 0
          for token in expected.indices { total += exp(logits[row + token] - top) }
          for token in expected.indices {
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

  /// `A[rows] · Bᵀ`, row-major `[rows, B's rows]`.
  private static func product(
    _ a: FloatMatrix, _ rows: Range<Int>, _ b: FloatMatrix,
    into output: UnsafeMutablePointer<Float>?
  ) {
    let columns = Int32(a.columns)
    a.withUnsafeBufferPointer { a in
      b.withUnsafeBufferPointer { values in
        cblas_sgemm(
          CblasRowMajor, CblasNoTrans, CblasTrans, Int32(rows.count), Int32(b.rows), columns, 1,
          a.baseAddress.map { $0 + rows.lowerBound * Int(columns) }, columns, values.baseAddress,
          columns, 0, output, Int32(b.rows))
      }
    }
  }
}
