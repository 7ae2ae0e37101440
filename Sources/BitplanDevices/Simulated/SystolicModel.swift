public import BitplanCore

/// What one matrix product costs on a systolic array: the corrected model.
///
/// Cycles count fill and drain of every tile, queues at the scale units, and waiting for DRAM with
/// double-buffered SRAM. Energy counts elements that work, one SRAM read for a whole row or column
/// of elements (operands are handed on), scalings, DRAM traffic and leakage.
public struct SystolicModel: Sendable {
  /// Where the energy went, in joules.
  public struct Energy: Hashable, Sendable {
    /// Leakage of elements and SRAM, and what DRAM draws when idle.
    public var staticJoules = 0.0
    /// DRAM traffic.
    public var memoryJoules = 0.0
    /// SRAM traffic.
    public var bufferJoules = 0.0
    /// Processing elements and scale units at work.
    public var coreJoules = 0.0
    /// All of it.
    public var joules: Double { staticJoules + memoryJoules + bufferJoules + coreJoules }

    /// Nothing spent.
    public init() {}

    /// Sums the parts.
    public static func += (lhs: inout Self, rhs: Self) {
      lhs.staticJoules += rhs.staticJoules
      lhs.memoryJoules += rhs.memoryJoules
      lhs.bufferJoules += rhs.bufferJoules
      lhs.coreJoules += rhs.coreJoules
    }
  }

  /// Cycles and energy of one product.
  public struct Result: Hashable, Sendable {
    /// From the first bit loaded to the last bit stored.
    public var cycles: Int
    /// Cycles in which the grid works, fill and drain included.
    public var computeCycles: Int
    /// Cycles in which the grid waits for DRAM.
    public var stallCycles: Int { cycles - computeCycles }
    /// Bits over the DRAM channel.
    public var memoryBits: Int
    /// Where the energy went.
    public var energy: Energy
  }

  private let array: SystolicArray

  /// The model of a valid array.
  public init(_ array: SystolicArray) { self.array = array }

  /// The cheapest schedule of `product`: fewest cycles, then least energy.
  ///
  /// - Complexity: O(t·s) for `t` tilings that fit the SRAM, some dozens, and `s` tiles of each.
  public func result(_ product: SystolicProduct) -> Result {
    var best: Result?
    for tiling in tilings(product) {
      let result = self.result(product, tiling)
      if let found = best,
        (found.cycles, found.energy.joules) <= (result.cycles, result.energy.joules)
      {
        continue
      }
      best = result
    }
    guard let best else { preconditionFailure("the smallest tiling is always tried") }
    return best
  }

  /// Seconds and joules of `format` at `shape` for `tokens` at once.
  public func cost(_ format: WeightFormat, _ shape: MatrixShape, tokens: Int)
    -> SimulatedDevice.Cost
  {
    let result = self.result(
      SystolicProduct(format: format, shape: shape, tokens: tokens, on: array))
    return SimulatedDevice.Cost(
      seconds: Double(result.cycles) / array.clockHertz, joules: result.energy.joules)
  }

  /// Tilings whose operands fill at most half of each SRAM; tiles of a few elements where none do,
  /// so that every product has a time.
  package func tilings(_ product: SystolicProduct) -> [SystolicTiling] {
    let tile = SystolicTile(array, product)
    var tilings: [SystolicTiling] = []
    for tokens in Self.sizes(step: tile.rows, whole: product.tokens) {
      for outputs in Self.sizes(step: tile.columns, whole: product.outputFeatures) {
        guard let inputs = chunk(product, tokens: tokens, outputs: outputs) else { continue }
        for order in SystolicTiling.Order.allCases {
          tilings.append(
            SystolicTiling(
              tokens: tokens, outputFeatures: outputs, inputFeatures: inputs, order: order))
        }
      }
    }
    if tilings.isEmpty {
      tilings.append(
        SystolicTiling(
          tokens: min(tile.rows, product.tokens),
          outputFeatures: min(tile.columns, product.outputFeatures),
          inputFeatures: min(product.groupSize, product.inputFeatures), order: .weightsOuter))
    }
    return tilings
  }

  /// The most input features whose tiles fit: all, or whole groups (whole 64s where there are none).
  private func chunk(_ product: SystolicProduct, tokens: Int, outputs: Int) -> Int? {
    func fits(_ inputs: Int) -> Bool {
      let sumBits = inputs < product.inputFeatures ? array.accumulatorBits ?? 32 : array.outputBits
      // Half of every SRAM: bytes × 8 ÷ 2.
      return product.weightTileBits(outputFeatures: outputs, inputFeatures: inputs)
        <= array.weightBufferBytes * 4
        && product.activationTileBits(tokens: tokens, inputFeatures: inputs)
          <= array.activationBufferBytes * 4
        && tokens * outputs * sumBits <= array.outputBufferBytes * 4
    }
    if fits(product.inputFeatures) { return product.inputFeatures }
    let step = product.groupSize < product.inputFeatures ? product.groupSize : 64
    var (low, high) = (0, product.inputFeatures.dividedUp(by: step))
    while high - low > 1 {
      let middle = (low + high) / 2
      if fits(min(middle * step, product.inputFeatures)) { low = middle } else { high = middle }
    }
    return low > 0 ? low * step : nil
  }

  /// `step`, twice that, and so on, and the whole.
  private static func sizes(step: Int, whole: Int) -> [Int] {
    var sizes: [Int] = []
    var size = step
    while size < whole {
      sizes.append(size)
      size *= 2
    }
    return sizes + [whole]
  }

  /// Cycles and energy under one tiling.
  package func result(_ product: SystolicProduct, _ tiling: SystolicTiling) -> Result {
    let schedule = SystolicSchedule(product, tiling, array)
    return Result(
      cycles: schedule.cycles, computeCycles: schedule.computeCycles,
      memoryBits: schedule.weightBits + schedule.activationBits + schedule.outputBits,
      energy: energy(product, tiling, schedule))
  }

  private func energy(
    _ product: SystolicProduct, _ tiling: SystolicTiling, _ schedule: SystolicSchedule
  ) -> Energy {
    let tile = SystolicTile(array, product)
    let costs = array.energy
    let elements = Double(array.rows * array.columns)
    // A split element does several narrow products in one cycle of work.
    let productsPerElement = Double(tile.rows * tile.columns) / elements
    let work = Double(product.multiplyAdds) * Double(tile.passes) / productsPerElement
    let scalings = Double(tile.scalings(product, tiling))

    let columnTiles = Double(product.outputFeatures.dividedUp(by: tile.columns))
    let allActivations = Double(
      product.activationTileBits(tokens: product.tokens, inputFeatures: product.inputFeatures))
    let allWeights = Double(
      product.weightTileBits(
        outputFeatures: product.outputFeatures, inputFeatures: product.inputFeatures))
    let weightReads =
      array.dataflow == .outputStationary
      ? allWeights * Double(product.tokens.dividedUp(by: tile.rows))
      : allWeights * Double(product.tokens.dividedUp(by: tiling.tokens))
    let outputs = Double(product.tokens * product.outputFeatures)
    // Sums that do not end in one visit of the grid are written and read again.
    let visits: Int
    switch array.dataflow {
    case .outputStationary: visits = product.inputFeatures.dividedUp(by: tiling.inputFeatures)
    case .weightStationary: visits = product.inputFeatures.dividedUp(by: min(tile.run, tile.rows))
    }
    let sumBits = Double(array.accumulatorBits ?? 32)
    let again = outputs * Double(visits - 1) * sumBits
    let storedBits = Double(schedule.outputBits)

    var picojoules = Energy()
    picojoules.staticJoules =
      Double(schedule.cycles)
      * (elements * costs.elementLeakagePicojoulesPerCycle + costs.bufferLeakagePicojoulesPerCycle
        + costs.memoryStaticPicojoulesPerCycle)
    picojoules.memoryJoules =
      Double(schedule.weightBits + schedule.activationBits) * costs.memoryReadPicojoulesPerBit
      + storedBits * costs.memoryWritePicojoulesPerBit
    picojoules.bufferJoules =
      Double(schedule.weightBits) * costs.weightWritePicojoulesPerBit
      + weightReads * costs.weightReadPicojoulesPerBit
      + Double(schedule.activationBits) * costs.activationWritePicojoulesPerBit
      + allActivations * columnTiles * costs.activationReadPicojoulesPerBit
      + (storedBits + again)
      * (costs.outputReadPicojoulesPerBit + costs.outputWritePicojoulesPerBit)
    picojoules.coreJoules =
      work * costs.elementPicojoulesPerCycle + scalings * costs.scalePicojoules
    return picojoules.divided(by: 1e12)
  }
}
