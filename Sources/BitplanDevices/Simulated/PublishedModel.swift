/// The published MixPE model (mixpe_simulator, arXiv:2411.16158), reproduced with its flaws.
///
/// It counts no fill and drain, one SRAM read for every multiply-add, and gives a layer of 4-bit
/// weights 4-bit activations too. Use ``SystolicModel`` for anything but comparing with the paper.
public struct PublishedModel: Sendable {
  /// One layer of the published workloads: a linear layer, or a convolution as `kernel` > 1.
  public struct Layer: Hashable, Sendable {
    /// Output features, or output channels.
    public var outputFeatures: Int
    /// Input features, or input channels.
    public var inputFeatures: Int
    /// Bits of weights and activations alike.
    public var bits: Int
    /// Side of the convolution's kernel; 1 for a linear layer.
    public var kernel = 1
    /// Side of the convolution's output; 1 for a linear layer.
    public var outputSide = 1

    /// A linear layer.
    public init(_ outputFeatures: Int, _ inputFeatures: Int, bits: Int) {
      self.outputFeatures = outputFeatures
      self.inputFeatures = inputFeatures
      self.bits = bits
    }
  }

  /// Cycles and energies of layers.
  public struct Result: Hashable, Sendable {
    /// Cycles with stalls.
    public var cycles = 0
    /// Cycles of waiting for DRAM, the first load and last store included.
    public var stallCycles = 0
    /// Where the energy went.
    public var energy = SystolicModel.Energy()
  }

  /// Energies that the published program has in its source, in picojoules, and not in its
  /// configuration. Two sets: one chooses the tiling, the other is reported.
  private struct Memory {
    let staticPerCycle, readPerBit, writePerBit: Double

    static let choosing = Memory(
      staticPerCycle: 3838.05 / 500_000 * 1e3, readPerBit: 1.18294 / 1024 * 1e3,
      writePerBit: 1.47797 / 1024 * 1e3)
    static let reported = Memory(
      staticPerCycle: 484.615 / 500 * 1e3, readPerBit: 0.644304 / 1024 * 1e3,
      writePerBit: 0.784104 / 1024 * 1e3)
  }

  private enum Loop: CaseIterable {
    case tokens, outputRows, outputColumns, inputs, outputs
  }

  private struct Traffic {
    var cycles = 0
    var stallCycles = 0
    var weightReads = 0
    var weightLoads = 0
    var activationReads = 0
    var activationLoads = 0
    var outputReads = 0
    var outputWrites = 0
    var outputStores = 0
  }

  private let array: SystolicArray
  private let rules: SystolicArray.Published
  /// Tokens, or images, at once.
  private let batch: Int

  /// The model of `array` under its published precision rules, or `nil` where it has none.
  public init?(_ array: SystolicArray, batch: Int) {
    guard let published = array.published else { return nil }
    self.array = array
    self.rules = published
    self.batch = batch
  }

  /// The sum over `layers` with their counts, in their order, so that equal lists give equal bits.
  public func result(_ layers: [(Layer, Int)]) -> Result {
    var sum = Result()
    for (layer, count) in layers {
      let one = result(layer)
      sum.cycles += one.cycles * count
      sum.stallCycles += one.stallCycles * count
      for _ in 0..<count { sum.energy += one.energy }
    }
    return sum
  }

  /// The layer's best tiling: fewest cycles, then least energy.
  public func result(_ layer: Layer) -> Result {
    var best: (traffic: Traffic, energy: Double)?
    let loops: [Loop] =
      layer.outputSide > 1 ? Loop.allCases : [.tokens, .inputs, .outputs]
    for order in Self.permutations(loops) {
      for tokens in Self.powers(batch) {
        for side in Self.powers(layer.outputSide) {
          for inputs in Self.powers(layer.inputFeatures) {
            for outputs in Self.powers(layer.outputFeatures) {
              let tile = Tile(tokens: tokens, side: side, inputs: inputs, outputs: outputs)
              guard let traffic = traffic(layer, tile, order) else { continue }
              if let best, best.traffic.cycles < traffic.cycles { continue }
              let energy = self.energy(traffic, .choosing, withBufferLeakage: true).joules
              if let found = best,
                (found.traffic.cycles, found.energy) <= (traffic.cycles, energy)
              {
                continue
              }
              best = (traffic, energy)
            }
          }
        }
      }
    }
    guard let traffic = best?.traffic else { return Result() }
    return Result(
      cycles: traffic.cycles, stallCycles: traffic.stallCycles,
      energy: energy(traffic, .reported, withBufferLeakage: false))
  }

  private struct Tile {
    let tokens, side, inputs, outputs: Int
  }

  /// `pf`: products of an element in a cycle, in each direction.
  private func factor(_ bits: Int) -> Int {
    rules.highPrecisionBits / max(bits, rules.lowPrecisionBits)
  }

  private func traffic(_ layer: Layer, _ tile: Tile, _ order: [Loop]) -> Traffic? {
    let bits = layer.bits
    let pixels = tile.side * tile.side
    let patch = layer.kernel * layer.kernel * tile.inputs
    let lanes = (array.rows * factor(bits), array.columns * factor(bits))
    var weights = patch.dividedUp(by: lanes.0) * lanes.0 * tile.outputs * bits
    var activations = pixels * patch.dividedUp(by: lanes.1) * lanes.1 * tile.tokens * bits
    var outputs = pixels * tile.outputs * tile.tokens * 16
    let half = (
      weights: array.weightBufferBytes * 4, activations: array.activationBufferBytes * 4,
      outputs: array.outputBufferBytes * 4
    )
    guard weights <= half.weights, activations <= half.activations else { return nil }

    func count(_ loop: Loop) -> Int {
      switch loop {
      case .tokens: batch.dividedUp(by: tile.tokens)
      case .outputRows, .outputColumns: layer.outputSide.dividedUp(by: tile.side)
      case .inputs: layer.inputFeatures.dividedUp(by: tile.inputs)
      case .outputs: layer.outputFeatures.dividedUp(by: tile.outputs)
      }
    }
    // "Promotion": from the innermost loop outwards, what fits is loaded once.
    var first = (weights: weights, activations: activations, outputs: outputs)
    var isHeld = (weights: true, activations: true, outputs: true)
    for loop in order.reversed() {
      let n = count(loop)
      if !isHeld.weights || loop == .inputs || loop == .outputs {
        weights *= n
        if isHeld.weights {
          if weights > half.weights { isHeld.weights = false } else { first.weights = weights }
        }
      }
      if !isHeld.activations || loop != .outputs {
        activations *= n
        if isHeld.activations {
          if activations > half.activations {
            isHeld.activations = false
          } else {
            first.activations = activations
          }
        }
      }
      if !isHeld.outputs || loop != .inputs {
        outputs *= n
        if isHeld.outputs {
          // The program notes the size of the output *loads* here, which is 0.
          if outputs > half.outputs { isHeld.outputs = false } else { first.outputs = 0 }
        }
      }
    }

    let tiles = Loop.allCases.reduce(1) { $0 * count($1) }
    let tileOutputs = tile.outputs * pixels * tile.tokens
    var traffic = Traffic()
    traffic.weightLoads = weights
    traffic.activationLoads = activations
    traffic.outputStores = outputs
    traffic.weightReads = tiles * tileOutputs * patch * bits
    traffic.activationReads = tiles * tileOutputs * patch * bits
    traffic.outputWrites = tiles * tileOutputs * 16
    traffic.outputReads = outputs + tiles * tileOutputs * 16
    let width = array.memoryBitsPerCycle
    let firstLoad = first.weights + first.activations
    let latency = firstLoad.dividedUp(by: width) + first.outputs.dividedUp(by: width)
    let rest = weights + activations + outputs - firstLoad - first.outputs
    let compute =
      tiles * (pixels * tile.tokens).dividedUp(by: lanes.0) * tile.outputs.dividedUp(by: lanes.1)
      * patch
    traffic.stallCycles = max(0, rest.dividedUp(by: width) - compute) + latency
    traffic.cycles = compute + traffic.stallCycles
    return traffic
  }

  private func energy(
    _ traffic: Traffic, _ memory: Memory, withBufferLeakage: Bool
  ) -> SystolicModel.Energy {
    let costs = array.energy
    let elements = Double(array.rows * array.columns)
    let cycles = Double(traffic.cycles)
    var energy = SystolicModel.Energy()
    energy.staticJoules =
      cycles
      * (memory.staticPerCycle + (withBufferLeakage ? costs.bufferLeakagePicojoulesPerCycle : 0))
      * 1e-12
    energy.memoryJoules =
      (Double(traffic.weightLoads + traffic.activationLoads) * memory.readPerBit
        + Double(traffic.outputStores) * memory.writePerBit) * 1e-12
    energy.bufferJoules =
      (Double(traffic.weightReads) * costs.weightReadPicojoulesPerBit
        + Double(traffic.weightLoads) * costs.weightWritePicojoulesPerBit
        + Double(traffic.activationReads) * costs.activationReadPicojoulesPerBit
        + Double(traffic.activationLoads) * costs.activationWritePicojoulesPerBit
        + Double(traffic.outputReads) * costs.outputReadPicojoulesPerBit
        + Double(traffic.outputWrites) * costs.outputWritePicojoulesPerBit) * 1e-12
    energy.coreJoules =
      (cycles * costs.elementLeakagePicojoulesPerCycle
        + Double(traffic.cycles - traffic.stallCycles) * costs.elementPicojoulesPerCycle)
      * elements * 1e-12
    return energy
  }

  /// 1, 2, 4, … up to `whole`, and `whole`.
  private static func powers(_ whole: Int) -> [Int] {
    var sizes: [Int] = []
    var size = 1
    while size < whole {
      sizes.append(size)
      size *= 2
    }
    return sizes + [whole]
  }

  private static func permutations(_ loops: [Loop]) -> [[Loop]] {
    guard loops.count > 1 else { return [loops] }
    return loops.indices.flatMap { index in
      var rest = loops
      let loop = rest.remove(at: index)
      return permutations(rest).map { [loop] + $0 }
    }
  }
}
