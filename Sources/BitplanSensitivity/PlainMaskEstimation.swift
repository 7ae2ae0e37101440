public import BitplanCore
public import BitplanEngine
internal import BitplanKernels

/// OHQ's mask-guided estimation as published: random weights are set to zero, and what that costs
/// says how much the operator's weights matter.
///
/// An operator's cost for a unit of removed energy `Σ w²` comes from a regression over passes in each
/// of which a few operators lose a random sixteenth of their weights. A format's loss is that cost times
/// the energy of its rounding error, `‖Q(W) − W‖²`. No quantized pass is run.
public struct PlainMaskEstimation: SensitivityEstimation {
  private let model: Model
  private let formats: [WeightFormat]
  private let design: MaskDesign
  private let variants: VariantStore
  private let seed: UInt64
  private let loss: (Model) throws -> Double

  /// - Parameters:
  ///   - design: which operators a pass masks; its formats do not matter, its dense passes are left
  ///     out.
  ///   - loss: the metric of a model on the calibration tokens.
  public init(
    model: Model, formats: [WeightFormat], design: MaskDesign, variants: VariantStore,
    seed: UInt64, loss: @escaping (Model) throws -> Double
  ) {
    self.model = model
    self.formats = formats
    self.design = design
    self.variants = variants
    self.seed = seed
    self.loss = loss
  }

  public var stepCount: Int { model.operators.count + design.passCount }

  public func run(
    tokens: [Int], journal: PassJournal?, progress: (Int) throws -> Void
  ) throws -> SensitivityEstimate {
    var passes: [MaskRegression.Pass] = []
    for index in design.denseCount..<design.passCount {
      try progress(index - design.denseCount)
      let masked = design.mask(index).formatIndices.enumerated().filter { $0.element != nil }
        .map(\.offset)
      var variant = model
      var terms: [(index: Int, prior: Double, width: Int)] = []
      for place in masked {
        let (weights, energy) = removed(place, pass: index)
        variant = variant.replacing(place, with: .float(weights))
        terms.append((index: place, prior: max(energy, 1e-30), width: 0))
      }
      let value: Double
      if let known = journal?.losses[index] {
        value = known
      } else {
        value = max(0, try loss(variant))
        try journal?.record(index, loss: value)
      }
      passes.append(MaskRegression.Pass(terms: terms, loss: value))
    }
    let estimate = MaskRegression.fit(
      passes, priorShares: [Double](repeating: 1, count: model.operators.count), priorSpread: 1.5,
      followsData: true, widthCount: 1)
    let rows = try model.operators.indices.map { index in
      try progress(design.passCount + index)
      return row(index, tokens, estimate)
    }
    return SensitivityEstimate(rows: rows, passCount: passes.count)
  }

  private func row(
    _ index: Int, _ tokens: [Int], _ estimate: MaskRegression.Estimate
  ) -> SensitivityTable.Row {
    let original = model.floatWeights(of: index)
    let entries = formats.map { format in
      let coded = variants.variant(index, format).dequantized()
      var energy = 0.0
      original.withUnsafeBufferPointer { a in
        coded.withUnsafeBufferPointer { b in
          for place in a.indices {
            let difference = Double(a[place]) - Double(b[place])
            energy += difference * difference
          }
        }
      }
      return SensitivityTable.Entry(
        format: format, value: estimate.shares[index] * energy,
        standardError: estimate.standardErrors[index] * energy,
        relativeOutputError: max(variants.relativeOutputError(index, format, tokens: tokens), 1e-14)
      )
    }
    return SensitivityTable.Row(operatorDescription: model.operators[index], entries: entries)
  }

  /// The operator's weights with a random sixteenth set to zero, and the energy that went.
  private func removed(_ index: Int, pass: Int) -> (FloatMatrix, Double) {
    let original = model.floatWeights(of: index)
    var generator = SeededGenerator(
      state: seed &+ 0x0_1234_5677 &* UInt64(pass + 1) &+ UInt64(index))
    // Sixteen weights share a draw: a weight goes where its four bits are zero.
    let result = FloatMatrix(
      rows: original.rows, columns: original.columns, values: original.values)
    var energy = 0.0
    result.withUnsafeMutableBufferPointer { weights in
      var (bits, left): (UInt64, Int) = (0, 0)
      for place in weights.indices {
        if left == 0 { (bits, left) = (generator.next(), 16) }
        if bits & 15 == 0 {
          energy += Double(weights[place]) * Double(weights[place])
          weights[place] = 0
        }
        bits >>= 4
        left -= 1
      }
    }
    return (result, energy)
  }
}
