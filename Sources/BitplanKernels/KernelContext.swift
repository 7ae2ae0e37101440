internal import BitplanCore
internal import CBitplanKernels

/// Kernels and threads: what a multiplication needs besides its operands.
public final class KernelContext: Sendable {
  /// The kernels of one instruction set.
  public let kernels: KernelSet
  /// The threads that share the work.
  public let pool: ThreadPool

  /// Activations (tokens × input features) from which quantizing them is worth a hand-over.
  internal static let parallelQuantization = 1 << 15
  /// Multiply-adds from which a multiplication is worth a hand-over between threads.
  internal static let parallelMultiplication = 1 << 18

  /// Pairs kernels with threads.
  public init(kernels: KernelSet, pool: ThreadPool) {
    self.kernels = kernels
    self.pool = pool
  }

  /// `y = W · x` for every token: writes the first `x.tokenCount` rows of `y`
  /// `[capacity, outputFeatures]`.
  ///
  /// Unless the weights are `f16`, `x` is quantized to 8 bits per token and group, or per token
  /// (see ``Activations/dequantized(groupSize:as:_:)``); sums are exact inside a group and rounded
  /// once per group, in order, by a fused multiply-add. Where ``PackedOperator/activations`` asks for
  /// 16 bits, what 8 bits leave goes through the same way and the two results are added; the
  /// weights are read once. A side branch is added last. The result does not depend on the instruction set, the batch or the
  /// number of threads.
  ///
  /// Shapes must agree, as ``validate(_:_:into:)`` says.
  public func multiply(_ weights: PackedOperator, _ x: Activations, into y: FloatMatrix) {
    do {
      try Self.validate(weights, x, into: y)
    } catch {
      preconditionFailure(error.description)
    }
    guard x.tokenCount > 0 else { return }
    switch weights.activations {
    case .int8:
      run(weights, tokens: x.tokenCount, scratch: x, into: y) { _ in x }
    case .int16:
      let parts = x.partialOutput(columns: y.columns)
      run(weights, tokens: 2 * x.tokenCount, scratch: x, into: parts) { [self] groupSize in
        x.inTwoParts(groupSize: groupSize, self)
      }
      RowSums.add(parts, count: x.tokenCount, into: y, self)
    }
    if let branch = weights.branch { add(branch, x, as: weights.activations, into: y) }
  }

  /// One pass over the weights.
  ///
  /// - Parameter activations: what weights of an activation group size are multiplied by.
  private func run(
    _ weights: PackedOperator, tokens: Int, scratch: Activations, into y: FloatMatrix,
    activations: (_ groupSize: Int) -> Activations
  ) {
    let (table, kernels) = (weights.table, kernels.table)
    let work = weights.shape.weightCount * tokens
    let threads = work < Self.parallelMultiplication ? 1 : pool.threadCount
    withUnsafeTemporaryAllocation(of: bp_activations.self, capacity: table.groupSizes.count) {
      forms in
      var values = scratch.values
      for (place, size) in table.groupSizes.enumerated() {
        let source = activations(size)
        if size == 1 { values = source.values }
        forms.initializeElement(
          at: place, to: size == 1 ? bp_activations() : source.quantized(groupSize: size, self).view
        )
      }
      withUnsafePointer(to: kernels) { kernels in
        var scratchBytes = 0
        for entry in table.entries where entry.float16 == nil {
          scratchBytes = max(
            scratchBytes,
            withUnsafePointer(to: entry.matrix) { bp_scratch_bytes(kernels, $0, Int64(tokens)) })
        }
        let job = Multiplication(
          table: table, forms: forms, values: values.base, tokens: tokens, output: y.base,
          outputFeatures: y.columns,
          scratch: scratch.scratch(threads: threads, byteCount: scratchBytes), kernels: kernels)
        // The job points into all of these.
        withExtendedLifetime((weights, scratch, values, y)) {
          if threads == 1 {
            job.run(thread: 0, of: 1)
          } else {
            pool.run { job.run(thread: $0, of: threads) }
          }
        }
      }
    }
  }

  /// Whether `x` and `y` fit `weights`.
  ///
  /// - Throws: ``KernelError/shapeMismatch(_:)`` if `x` does not have W's input features, or `y`
  ///   does not have W's output features and a row for every token.
  public static func validate(
    _ weights: PackedOperator, _ x: Activations, into y: FloatMatrix
  ) throws(KernelError) {
    guard x.values.columns == weights.shape.inputFeatures,
      y.columns == weights.shape.outputFeatures, y.rows >= x.tokenCount
    else {
      throw .shapeMismatch(
        "W is [\(weights.shape.outputFeatures), \(weights.shape.inputFeatures)], x is "
          + "[\(x.tokenCount), \(x.values.columns)], y is [\(y.rows), \(y.columns)]: x must have "
          + "W's input features, y W's output features and a row for every token of x.")
    }
  }
}
