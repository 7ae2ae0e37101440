public import BitplanCore
public import BitplanEngine
public import BitplanKernels
internal import BitplanQuantizers

/// Chooses the scalings of a model: slot by slot from the readers' own error, or one rule for the
/// whole model from its loss.
public struct TransformChooser {
  /// A slot's choice and what it is worth.
  public struct Choice: Sendable {
    /// The transform; a rule of all ones where none helps.
    public let transform: EquivalenceTransform
    /// Importance-weighted error of the readers under the rule.
    public let error: Double
    /// The same without scaling.
    public let plainError: Double
  }

  private let model: Model
  private let statistics: [OperatorStatistics]
  private let gradients: GradientStatistics?
  private let context: KernelContext

  /// - Parameters:
  ///   - statistics: of `model`, one for every operator.
  ///   - gradients: of `model`, to weigh output features; all alike without.
  public init(
    model: Model, statistics: [OperatorStatistics], gradients: GradientStatistics?,
    context: KernelContext
  ) {
    self.model = model
    self.statistics = statistics
    self.gradients = gradients
    self.context = context
  }

  /// The best of `rules` for every slot of `slots`, scored at `format` on sampled inputs.
  ///
  /// - Parameter progress: called with the slots done; may throw to stop.
  public func perSlot(
    _ rules: [ScalingRule], slots: Set<EquivalenceTransform.Slot>, format: WeightFormat,
    progress: (_ done: Int, _ total: Int) throws -> Void = { _, _ in }
  ) throws -> [Choice] {
    let search = ScalingSearch(format: format, pool: context.pool)
    let wanted = model.scalingSlots.filter { slots.contains($0.slot) && !$0.readers.isEmpty }
    var result: [Choice] = []
    for (index, slot) in wanted.enumerated() {
      try progress(index, wanted.count)
      let readers = slot.readers.map { reader in
        let weights = model.floatWeights(of: reader)
        return ScalingSearch.Reader(
          weights: weights,
          importance: gradients?.meanSquares[reader]
            ?? [Double](repeating: 1, count: weights.rows))
      }
      let samples = statistics[slot.readers[0]].samples
      let plain = search.scores(
        [.identity], readers: readers, samples: samples, factorOfInput: slot.factorOfInput,
        factorCount: slot.factorCount)[0]
      let best = search.best(
        rules, readers: readers, samples: samples, factorOfInput: slot.factorOfInput,
        factorCount: slot.factorCount)
      result.append(
        Choice(
          transform: .scaling(slot.slot, layer: slot.layer, best.rule), error: best.error,
          plainError: plain.error))
    }
    return result
  }

  /// One rule for all slots of `slots`, chosen by the whole model's loss (SmoothQuant+, Pan et al.
  /// 2023, arXiv:2312.03788).
  ///
  /// - Parameter loss: loss of a model in its own float weights, quantized as the caller likes.
  /// - Returns: the transforms of the best rule, empty where none beats no scaling, and its loss.
  public func wholeModel(
    _ rules: [ScalingRule], slots: Set<EquivalenceTransform.Slot>, loss: (Model) throws -> Double
  ) throws -> (transforms: [EquivalenceTransform], loss: Double) {
    let wanted = model.scalingSlots.filter { slots.contains($0.slot) && !$0.readers.isEmpty }
    let transforms = ModelTransforms(context: context) { [statistics] _ in statistics }
    var best = (transforms: [EquivalenceTransform](), loss: try loss(model))
    for rule in rules {
      let candidate = wanted.map { EquivalenceTransform.scaling($0.slot, layer: $0.layer, rule) }
      let value = try loss(try transforms.apply(candidate, to: model))
      if value < best.loss { best = (candidate, value) }
    }
    return best
  }
}
