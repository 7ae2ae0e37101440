internal import BitplanCore
internal import CBitplanKernels

/// One multiplication, divided statically among threads.
///
/// `@unchecked Sendable`: inputs are only read; every thread writes its own rows of the output for
/// its own tokens, and its own piece of scratch memory. Whoever makes one keeps alive what it points
/// to.
internal struct Multiplication: @unchecked Sendable {
  let table: SegmentTable
  /// The activations in the table's group sizes.
  let forms: UnsafeMutableBufferPointer<bp_activations>
  /// What `f16` weights are multiplied by.
  let values: UnsafePointer<Float>
  let tokens: Int
  let output: UnsafeMutablePointer<Float>
  let outputFeatures: Int
  let scratch: [AlignedBytes]
  let kernels: UnsafePointer<bp_kernels>

  /// Tiles that a thread should take together.
  private static let tileRun = 2

  /// Does share `thread` of `threads`.
  func run(thread: Int, of threads: Int) {
    let scratch = scratch[thread].address
    let entries = table.entries
    // Where there are too few tiles to share, the tokens are shared instead.
    if threads == 1 || (tokens > 8 && table.tileCount < 2 * Self.tileRun * threads) {
      for entry in entries {
        multiply(entry, tiles: 0..<entry.tileCount, share: thread, of: threads, scratch)
      }
      return
    }
    let total = entries.reduce(0) { $0 + $1.tileCount * cost($1) }
    let (begin, end) = (total * thread / threads, total * (thread + 1) / threads)
    var offset = 0
    for entry in entries {
      let (tiles, cost) = (entry.tileCount, cost(entry))
      let range =
        boundary(begin - offset, cost, tiles)..<boundary(end - offset, cost, tiles)
      if !range.isEmpty { multiply(entry, tiles: range, share: 0, of: 1, scratch) }
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
  private func cost(_ entry: SegmentTable.Entry) -> Int {
    if tokens > 8 { return entry.float16 == nil ? 1 : 4 }
    let matrix = entry.matrix
    return Int(matrix.groups) * Int(matrix.group_size) * (2 * Int(matrix.bit_width) + tokens)
  }

  /// Multiplies some tiles of a segment by share `share` of the tokens.
  private func multiply(
    _ entry: SegmentTable.Entry, tiles: Range<Int>, share: Int, of shares: Int,
    _ scratch: UnsafeMutableRawPointer
  ) {
    var output = bp_output(
      values: output, stride: Int64(outputFeatures), row_map: entry.rowMap)
    let (first, last) = (Int64(tiles.lowerBound), Int64(tiles.upperBound))
    if let weights = entry.float16 {
      let inputFeatures = entry.matrix.groups
      kernels.pointee.multiply_float16(
        weights, entry.matrix.rows, inputFeatures, values, inputFeatures, &output, first, last,
        Int64(tokens * share / shares), Int64(tokens * (share + 1) / shares))
      return
    }
    let form = forms[entry.form]
    let blocks = (Int(form.tokens) + Int(form.block) - 1) / Int(form.block)
    withUnsafePointer(to: entry.matrix) { matrix in
      withUnsafePointer(to: form) { form in
        bp_multiply(
          kernels, matrix, form, &output, first, last, Int64(blocks * share / shares),
          Int64(blocks * (share + 1) / shares), scratch)
      }
    }
  }
}
