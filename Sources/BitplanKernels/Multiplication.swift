internal import BitplanCore
internal import CBitplanKernels

/// One multiplication, divided statically among threads.
///
/// `@unchecked Sendable`: inputs are only read; every thread writes its own rows of the output for
/// its own tokens, and its own piece of scratch memory.
internal struct Multiplication: @unchecked Sendable {
  let weights: PackedOperator
  let forms: [Int: QuantizedActivations]
  let values: FloatMatrix
  let tokens: Int
  let output: FloatMatrix
  let scratch: [AlignedBytes]
  let table: bp_kernels

  /// Tiles that a thread should take together.
  private static let tileRun = 2

  /// Does share `thread` of `threads`.
  func run(thread: Int, of threads: Int) {
    let tiles = weights.segments.reduce(0) { $0 + $1.matrix.layout.tileCount }
    // Where there are too few tiles to share, the tokens are shared instead.
    if tokens > 8, tiles < 2 * Self.tileRun * threads, threads > 1 {
      for segment in weights.segments {
        let tiles = segment.matrix.layout.tileCount
        multiply(
          segment, tiles: 0..<tiles, share: thread, of: threads, scratch: scratch[thread])
      }
      return
    }
    let total = weights.segments.reduce(0) { $0 + $1.matrix.layout.tileCount * cost($1) }
    let (begin, end) = (total * thread / threads, total * (thread + 1) / threads)
    var offset = 0
    for segment in weights.segments {
      let (tiles, cost) = (segment.matrix.layout.tileCount, cost(segment))
      let range =
        boundary(begin - offset, cost, tiles)..<boundary(end - offset, cost, tiles)
      if !range.isEmpty {
        multiply(segment, tiles: range, share: 0, of: 1, scratch: scratch[thread])
      }
      offset += tiles * cost
    }
  }

  /// The first tile that lies at or after `position`, in units of cost, in whole runs.
  private func boundary(_ position: Int, _ cost: Int, _ tiles: Int) -> Int {
    guard position > 0 else { return 0 }
    let tile = (position + cost - 1) / cost
    return min(tiles, (tile + Self.tileRun - 1) / Self.tileRun * Self.tileRun)
  }

  /// Relative time of one tile: multiplications where they are the limit; where memory is, bytes, and
  /// what further tokens add to them. Measured with 8 tokens, a tile of 2, 4, 6 and 8 bits takes times
  /// that grow as its bits plus half a bit a token do.
  private func cost(_ segment: PackedOperator.Segment) -> Int {
    let layout = segment.matrix.layout
    if tokens <= 8 {
      return layout.groupCount * (layout.codeBytesPerGroup + tokens * layout.format.groupSize)
    }
    switch layout.format.coding {
    case .float16: return 4
    case .affine, .symmetric, .nonlinear, .blockFloat, .perRow, .twoLevel, .binary: return 1
    }
  }

  /// Multiplies some tiles of a segment by share `share` of the tokens.
  private func multiply(
    _ segment: PackedOperator.Segment, tiles: Range<Int>, share: Int, of shares: Int,
    scratch: AlignedBytes
  ) {
    withOutput(segment) { output in
      var output = output
      let (first, last) = (Int64(tiles.lowerBound), Int64(tiles.upperBound))
      let shape = segment.matrix.shape
      guard let form = forms[segment.matrix.format.activationGroupSize] else {
        values.withUnsafeBufferPointer { values in
          segment.matrix.withFloat16 { weights in
            table.multiply_float16(
              weights, Int64(shape.outputFeatures), Int64(shape.inputFeatures),
              values.baseAddress, Int64(shape.inputFeatures), &output, first, last,
              Int64(tokens * share / shares), Int64(tokens * (share + 1) / shares))
          }
        }
        return
      }
      let blocks = form.blockCount
      segment.matrix.withMatrix { matrix in
        form.withActivations { activations in
          scratch.withUnsafeMutableBytes { scratch in
            var (table, matrix, activations) = (table, matrix, activations)
            bp_multiply(
              &table, &matrix, &activations, &output, first, last, Int64(blocks * share / shares),
              Int64(blocks * (share + 1) / shares), scratch.baseAddress)
          }
        }
      }
    }
  }

  /// Calls `body` with where the results of `segment` go. No pointer must leave the closure.
  private func withOutput(_ segment: PackedOperator.Segment, _ body: (bp_output) -> Void) {
    output.withUnsafeMutableBufferPointer { values in
      let stride = Int64(output.columns)
      if let map = segment.rowMap {
        map.withUnsafeBufferPointer {
          body(bp_output(values: values.baseAddress, stride: stride, row_map: $0.baseAddress))
        }
      } else {
        body(bp_output(values: values.baseAddress, stride: stride, row_map: nil))
      }
    }
  }
}
