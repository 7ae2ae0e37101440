public import BitplanCore
internal import CBitplanKernels

/// Activations of up to `capacity` tokens and their 8-bit forms, quantized at most once per group
/// size.
///
/// They belong to one forward pass and are used by one thread, which may let a pool work on them.
public final class Activations {
  /// `[capacity, inputFeatures]`; write the first `tokenCount` rows, then call
  /// ``didChange(tokenCount:)``.
  public let values: FloatMatrix
  /// Rows of ``values`` that hold tokens.
  public private(set) var tokenCount: Int

  /// By group size: there are few, so that looking through them takes less than hashing.
  private var forms: [(groupSize: Int, form: QuantizedActivations)] = []
  /// The two parts of 16-bit activations for every group size, and where their results meet.
  private var twoParts: [Int: Activations] = [:]
  private var partialOutputs: [Int: FloatMatrix] = [:]
  /// What meets the left factors of low-rank branches, by rank.
  private var branchInputs: [Int: Activations] = [:]
  /// The values in another order, with the ``version`` that it was made from.
  private var blocks: (values: FloatMatrix, version: Int)?
  private var version = 0
  /// Of parts: the ``version`` of the activations that they were made from.
  private var origin = -1
  private var scratch: [AlignedBytes] = []
  private let placement: MemoryPlacement

  /// Zeros, and no tokens yet.
  public convenience init(capacity: Int, inputFeatures: Int) {
    self.init(capacity: capacity, inputFeatures: inputFeatures, placement: .heap)
  }

  /// Zeros in a given place; quantized forms and scratch memory will lie there too.
  package init(capacity: Int, inputFeatures: Int, placement: MemoryPlacement) {
    values = FloatMatrix(rows: capacity, columns: inputFeatures, placement: placement)
    tokenCount = 0
    self.placement = placement
  }

  /// Forgets quantized forms: ``values`` were rewritten. `tokenCount` is at most the capacity.
  public func didChange(tokenCount: Int) {
    precondition(
      tokenCount >= 0 && tokenCount <= values.rows,
      "\(tokenCount) tokens do not fit into activations for \(values.rows)")
    self.tokenCount = tokenCount
    version &+= 1
  }

  /// The values that kernels actually multiply by when quantized at `groupSize`: dequantized
  /// `[tokenCount, inputFeatures]`.
  ///
  /// `groupSize` is a format's `activationGroupSize`: 1 stands for `f16` weights, which are
  /// multiplied by the values themselves, `WeightFormat.wholeToken` for one scale a token.
  public func dequantized(
    groupSize: Int, as format: ActivationFormat = .int8, _ context: KernelContext
  ) -> FloatMatrix {
    let result = FloatMatrix(rows: tokenCount, columns: values.columns)
    guard tokenCount > 0 else { return result }
    if format == .int16 {
      let parts = inTwoParts(groupSize: groupSize, context)
        .dequantized(groupSize: groupSize, context)
      RowSums.add(parts, count: tokenCount, into: result, context)
      return result
    }
    if groupSize == 1 {
      result.withUnsafeMutableBufferPointer { target in
        values.withUnsafeBufferPointer { source in
          _ = target.update(fromContentsOf: source.prefix(tokenCount * values.columns))
        }
      }
      return result
    }
    quantized(groupSize: groupSize, context).dequantize(into: result, at: 0, context)
    return result
  }

  /// Twice the tokens: the values, and after them what 8 bits at `groupSize` leave of each. What an
  /// operator makes of the second half, added to what it makes of the first, is its output for
  /// activations of 16 bits.
  internal func inTwoParts(groupSize: Int, _ context: KernelContext) -> Activations {
    let parts =
      twoParts[groupSize]
      ?? Activations(
        capacity: 2 * values.rows, inputFeatures: values.columns, placement: placement)
    twoParts[groupSize] = parts
    guard parts.origin != version else { return parts }
    let (tokens, columns, isExact) = (tokenCount, values.columns, groupSize == 1)
    let group = min(groupSize, columns)
    let split: @Sendable (Int, Int) -> Void = { [values, target = parts.values] token, _ in
      values.withUnsafeBufferPointer { values in
        target.withUnsafeMutableBufferPointer { target in
          let source = UnsafeBufferPointer(
            rebasing: values[token * columns..<(token + 1) * columns])
          let (first, second) = (token * columns, (tokens + token) * columns)
          let whole = UnsafeMutableBufferPointer(rebasing: target[first..<first + columns])
          let rest = UnsafeMutableBufferPointer(rebasing: target[second..<second + columns])
          _ = whole.update(fromContentsOf: source)
          // Beside float weights nothing is left.
          if isExact {
            rest.update(repeating: 0)
          } else {
            VectorOperations.roundingError(of: source, groupSize: group, into: rest)
          }
        }
      }
    }
    context.pool.deal(
      tokens, isWorthwhile: tokens * columns >= KernelContext.parallelQuantization, split)
    parts.didChange(tokenCount: 2 * tokenCount)
    parts.origin = version
    return parts
  }

  /// The 8-bit form at `groupSize`, in the order that the context's kernels want.
  internal func quantized(groupSize: Int, _ context: KernelContext) -> QuantizedActivations {
    let packedSize = QuantizedActivations.packedGroupSize(groupSize)
    let order = context.kernels.table.activation_order(Int64(tokenCount), Int32(packedSize))
    let form: QuantizedActivations
    if let place = forms.firstIndex(where: { $0.groupSize == groupSize }) {
      form = forms[place].form
    } else {
      form = QuantizedActivations(
        groupSize: groupSize, inputFeatures: values.columns, placement: placement)
      forms.append((groupSize, form))
    }
    if form.version != version || form.order.block != order.block
      || form.order.depth != order.depth
    {
      form.quantize(values, tokens: tokenCount, order: order, version: version, context)
    }
    return form
  }

  /// Room for what the right factor of a low-rank branch makes of the tokens.
  internal func branchInput(rank: Int) -> Activations {
    if let known = branchInputs[rank] { return known }
    let result = Activations(
      capacity: values.rows, inputFeatures: rank, placement: placement)
    branchInputs[rank] = result
    return result
  }

  /// A matrix of at least this many rows that `fill` wrote since the values last changed.
  internal func blocked(
    rows: Int, columns: Int, _ fill: (FloatMatrix) -> Void
  ) -> FloatMatrix {
    if let blocks, blocks.version == version { return blocks.values }
    let isLarge = blocks.map { $0.values.rows >= rows && placement == .heap } ?? false
    let target =
      isLarge
      ? blocks?.values : FloatMatrix(rows: rows, columns: columns, placement: placement)
    guard let target else { preconditionFailure("one of the two was made") }
    fill(target)
    blocks = (target, version)
    return target
  }

  /// Room for the results of both parts of 16-bit activations or of a side branch, at least
  /// `[2 · tokenCount, columns]`.
  internal func partialOutput(columns: Int) -> FloatMatrix {
    if let known = partialOutputs[columns], known.rows >= 2 * tokenCount { return known }
    let result = FloatMatrix(rows: 2 * tokenCount, columns: columns)
    partialOutputs[columns] = result
    return result
  }

  /// Scratch memory for the kernels, one piece for every thread.
  internal func scratch(threads: Int, byteCount: Int) -> [AlignedBytes] {
    if scratch.count < threads || (scratch.first?.count ?? 0) < byteCount {
      let count = max(threads, scratch.count)
      let bytes = max(byteCount, scratch.first?.count ?? 0)
      scratch = (0..<count).map { _ in AlignedBytes(count: bytes, placement: placement) }
    }
    return scratch
  }
}

/// Activations as signed bytes with a scale for every token and group, or for every token.
///
/// `@unchecked Sendable`: written by `quantize`, whose threads fill disjoint blocks of tokens and
/// meet before it returns; only read after that.
internal final class QuantizedActivations: @unchecked Sendable {
  /// Whether every token has one scale.
  let isPerToken: Bool
  /// Input features that are packed, and summed, together.
  let groupSize: Int
  let inputFeatures: Int
  private(set) var order = bp_activation_order(block: 0, depth: 0)
  private(set) var tokens = 0
  private(set) var version = -1
  private var codes = AlignedBytes(count: 0)
  private var scales = AlignedBytes(count: 0)
  private var negatedSums = AlignedBytes(count: 0)

  private let placement: MemoryPlacement

  init(groupSize: Int, inputFeatures: Int, placement: MemoryPlacement) {
    isPerToken = groupSize == WeightFormat.wholeToken
    self.groupSize = Self.packedGroupSize(groupSize)
    self.inputFeatures = inputFeatures
    self.placement = placement
  }

  /// Where a token has one scale, codes are packed in groups of 128, as the weights are.
  static func packedGroupSize(_ groupSize: Int) -> Int {
    groupSize == WeightFormat.wholeToken ? 128 : groupSize
  }

  private var groups: Int { (inputFeatures + groupSize - 1) / groupSize }

  /// Blocks of tokens, the last one padded.
  var blockCount: Int { (tokens + Int(order.block) - 1) / max(1, Int(order.block)) }

  func quantize(
    _ values: FloatMatrix, tokens: Int, order: bp_activation_order, version: Int,
    _ context: KernelContext
  ) {
    self.order = order
    self.tokens = tokens
    self.version = version
    let padded = blockCount * Int(order.block)
    let (codeBytes, scaleBytes) = (padded * groups * groupSize, padded * groups * 4)
    // Behind a guard, a buffer of the exact size is what the tests want.
    let exact = placement != .heap
    if codes.count < codeBytes || exact {
      codes = AlignedBytes(count: codeBytes, placement: placement)
    }
    if scales.count < scaleBytes || exact {
      scales = AlignedBytes(count: scaleBytes, placement: placement)
      negatedSums = AlignedBytes(count: scaleBytes, placement: placement)
    }
    let kernels = context.kernels
    let blocks = blockCount
    let quantizeBlocks: @Sendable (Int, Int) -> Void = { [self] begin, end in
      var (form, table) = (view, kernels.table)
      bp_quantize(
        &table, values.base, Int64(inputFeatures), Int64(inputFeatures), &form, Int64(begin),
        Int64(end))
    }
    let threads = context.pool.threadCount
    if threads == 1 || blocks < 2 || tokens * inputFeatures < KernelContext.parallelQuantization {
      quantizeBlocks(0, blocks)
    } else {
      context.pool.run { thread in
        quantizeBlocks(blocks * thread / threads, blocks * (thread + 1) / threads)
      }
    }
  }

  /// Writes what the codes stand for to the rows of `target` from `row` on.
  func dequantize(into target: FloatMatrix, at row: Int, _ context: KernelContext) {
    let (columns, tokens, groupSize) = (inputFeatures, tokens, groupSize)
    let dequantizeToken: @Sendable (Int, Int) -> Void = { [self] token, _ in
      let form = view
      target.withUnsafeMutableBufferPointer { target in
        let (block, depth, groups) = (Int(form.block), Int(form.depth), Int(form.groups))
        let steps = groups * groupSize / depth
        let first = (row + token) * columns
        for begin in stride(from: 0, to: columns, by: depth) {
          let code = ((token / block * steps + begin / depth) * block + token % block) * depth
          let scale =
            form.scales[
              isPerToken
                ? token : (token / block * groups + begin / groupSize) * block + token % block]
          for place in 0..<min(depth, columns - begin) {
            target[first + begin + place] = Float(form.codes[code + place]) * scale
          }
        }
      }
    }
    context.pool.deal(
      tokens, isWorthwhile: tokens * columns >= KernelContext.parallelQuantization, dequantizeToken)
  }

  /// The C view, valid until the codes are quantized anew.
  var view: bp_activations {
    bp_activations(
      codes: codes.address.assumingMemoryBound(to: Int8.self),
      scales: scales.address.assumingMemoryBound(to: Float.self),
      negated_sums: negatedSums.address.assumingMemoryBound(to: Int32.self),
      tokens: Int64(tokens), groups: Int64(groups), group_size: Int32(groupSize),
      block: order.block, depth: order.depth, per_token: isPerToken ? 1 : 0)
  }
}
