import BitplanKernels
import CBLAS

/// float32 matrix products by BLAS, split over the engine's own threads.
///
/// BLAS itself runs on one thread: the pool's workers call it for disjoint tiles, so that there is
/// one set of threads and nothing spins beside it. Tiles depend on the shape alone, so the result
/// does not depend on the thread count.
enum FloatProduct {
  /// Tokens of a tile.
  private static let tileTokens = 256
  /// Multiply-adds below which waking the pool costs more than it saves.
  private static let worthwhileProducts = 1 << 17

  private static let singleThreaded: Void = { openblas_set_num_threads(1) }()

  /// Makes BLAS run on the calling thread alone; the first call sets it for the process.
  @inline(__always)
  static func prepare() { _ = singleThreaded }

  /// `y = x · wᵀ` for the first `tokenCount` rows.
  ///
  /// - Parameters:
  ///   - x: `[≥ tokenCount, inputFeatures]`.
  ///   - w: `[outputFeatures, inputFeatures]`.
  ///   - y: `[≥ tokenCount, outputFeatures]`; the first rows are overwritten.
  static func multiply(
    _ x: FloatMatrix, tokenCount: Int, by w: FloatMatrix, into y: FloatMatrix, _ pool: ThreadPool
  ) {
    prepare()
    let (inputs, outputs) = (w.columns, w.rows)
    precondition(x.columns == inputs && y.columns == outputs, "operator and buffers must agree")
    precondition(tokenCount <= x.rows && tokenCount <= y.rows, "more tokens than the buffers hold")
    guard tokenCount > 0 else { return }
    // At least 128 outputs a tile, so that repacking the activations is paid for.
    let tileOutputs = max(128, (outputs / 8 + 63) / 64 * 64)
    let outputTiles = (outputs + tileOutputs - 1) / tileOutputs
    let tiles = outputTiles * ((tokenCount + tileTokens - 1) / tileTokens)
    split(tiles, work: tokenCount * inputs * outputs, pool) { tile in
      let firstToken = tile / outputTiles * tileTokens
      let tokens = min(tileTokens, tokenCount - firstToken)
      let firstOutput = tile % outputTiles * tileOutputs
      let count = min(tileOutputs, outputs - firstOutput)
      withAddresses(x, w, y) { x, w, y in
        let x = x + firstToken * inputs
        let w = w + firstOutput * inputs
        let y = y + firstToken * outputs + firstOutput
        if tokens == 1 {
          cblas_sgemv(
            CblasRowMajor, CblasNoTrans, Int32(count), Int32(inputs), 1, w, Int32(inputs), x, 1, 0,
            y, 1)
        } else {
          cblas_sgemm(
            CblasRowMajor, CblasNoTrans, CblasTrans, Int32(tokens), Int32(count), Int32(inputs), 1,
            x, Int32(inputs), w, Int32(inputs), 0, y, Int32(outputs))
        }
      }
    }
  }

  /// `x = g · w`, or `x += g · w`, for the first `tokenCount` rows: the input gradient of
  /// `multiply`.
  ///
  /// - Parameters:
  ///   - g: `[≥ tokenCount, outputFeatures]`.
  ///   - w: `[outputFeatures, inputFeatures]`.
  ///   - x: `[≥ tokenCount, inputFeatures]`.
  static func multiplyBack(
    _ g: FloatMatrix, tokenCount: Int, by w: FloatMatrix, into x: FloatMatrix, adding: Bool = false,
    _ pool: ThreadPool
  ) {
    prepare()
    let (inputs, outputs) = (w.columns, w.rows)
    precondition(x.columns == inputs && g.columns == outputs, "operator and buffers must agree")
    precondition(tokenCount <= x.rows && tokenCount <= g.rows, "more tokens than the buffers hold")
    guard tokenCount > 0 else { return }
    let tileInputs = max(128, (inputs / 8 + 63) / 64 * 64)
    let inputTiles = (inputs + tileInputs - 1) / tileInputs
    let tiles = inputTiles * ((tokenCount + tileTokens - 1) / tileTokens)
    split(tiles, work: tokenCount * inputs * outputs, pool) { tile in
      let firstToken = tile / inputTiles * tileTokens
      let tokens = min(tileTokens, tokenCount - firstToken)
      let firstInput = tile % inputTiles * tileInputs
      let count = min(tileInputs, inputs - firstInput)
      withAddresses(g, w, x) { g, w, x in
        cblas_sgemm(
          CblasRowMajor, CblasNoTrans, CblasNoTrans, Int32(tokens), Int32(count), Int32(outputs),
          1, g + firstToken * outputs, Int32(outputs), w + firstInput, Int32(inputs),
          adding ? 1 : 0, x + firstToken * inputs + firstInput, Int32(inputs))
      }
    }
  }

  /// `gradient += gᵀ · x`: the weight gradient of `multiply`, `[outputFeatures, inputFeatures]`.
  static func addWeightGradient(
    _ g: FloatMatrix, _ x: FloatMatrix, tokenCount: Int, to gradient: FloatMatrix
  ) {
    prepare()
    withAddresses(g, x, gradient) { g, x, target in
      cblas_sgemm(
        CblasRowMajor, CblasTrans, CblasNoTrans, Int32(gradient.rows), Int32(gradient.columns),
        Int32(tokenCount), 1, g, Int32(gradient.rows), x, Int32(gradient.columns), 1, target,
        Int32(gradient.columns))
    }
  }

  /// Runs `body` for every tile: on all threads when `work` multiply-adds are worth it.
  static func split(
    _ tiles: Int, work: Int, _ pool: ThreadPool, _ body: @Sendable (Int) -> Void
  ) {
    pool.deal(tiles, isWorthwhile: work >= worthwhileProducts) { tile, _ in body(tile) }
  }
}
