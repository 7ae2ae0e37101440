/// How a product is cut into tiles that fit the SRAM, and in which order they come.
package struct SystolicTiling: Hashable, Sendable {
  /// Which operand the outer loop walks over. Input features are always the innermost loop.
  package enum Order: Hashable, Sendable, CaseIterable {
    case weightsOuter
    case activationsOuter
  }

  package let tokens: Int
  package let outputFeatures: Int
  package let inputFeatures: Int
  package let order: Order
}

/// Cycles and memory traffic of one product under one tiling.
struct SystolicSchedule: Hashable {
  /// From the first bit loaded to the last bit stored.
  var cycles = 0
  /// Cycles in which the grid works, fill and drain included.
  var computeCycles = 0
  /// Bits loaded into the weight SRAM.
  var weightBits = 0
  /// Bits loaded into the activation SRAM.
  var activationBits = 0
  /// Bits stored to DRAM.
  var outputBits = 0

  /// Plays the loops tile by tile: while a tile is computed, the next one's operands are loaded and
  /// the last one's outputs are stored, over one channel.
  init(_ product: SystolicProduct, _ tiling: SystolicTiling, _ array: SystolicArray) {
    let tile = SystolicTile(array, product)
    let walk = TileWalk(product, tiling, array)
    var work = WorkCache(tile: tile, dataflow: array.dataflow)
    var pendingCompute = 0
    var store = 0
    walk.forEachStep { step in
      weightBits += step.weightBits
      activationBits += step.activationBits
      let load = step.weightBits + step.activationBits
      // The previous tile is computed while this one is loaded and the one before is stored.
      cycles += max(pendingCompute, (load + store).dividedUp(by: array.memoryBitsPerCycle))
      store = step.previousOutputBits
      outputBits += store
      pendingCompute = work.cycles(
        tokens: step.tokens, outputFeatures: step.outputFeatures, inputFeatures: step.inputFeatures)
      computeCycles += pendingCompute
    }
    cycles += max(pendingCompute, store.dividedUp(by: array.memoryBitsPerCycle))
    let last = walk.lastOutputBits
    outputBits += last
    cycles += last.dividedUp(by: array.memoryBitsPerCycle)
  }
}

/// Array cycles of SRAM tiles; the same few sizes come again and again.
private struct WorkCache {
  struct Size: Hashable {
    let tokens, outputFeatures, inputFeatures: Int
  }

  let tile: SystolicTile
  let dataflow: SystolicArray.Dataflow
  var known: [Size: Int] = [:]

  init(tile: SystolicTile, dataflow: SystolicArray.Dataflow) {
    self.tile = tile
    self.dataflow = dataflow
  }

  /// Cycles of one SRAM tile: all its array tiles, one after the other.
  mutating func cycles(tokens: Int, outputFeatures: Int, inputFeatures: Int) -> Int {
    let size = Size(tokens: tokens, outputFeatures: outputFeatures, inputFeatures: inputFeatures)
    if let cycles = known[size] { return cycles }
    var cycles = 0
    for (columns, columnTiles) in tile.cut(outputFeatures, tile.columns) {
      switch dataflow {
      case .outputStationary:
        for (rows, rowTiles) in tile.cut(tokens, tile.rows) {
          cycles +=
            columnTiles * rowTiles
            * tile.cycles(tokens: rows, outputFeatures: columns, inputFeatures: inputFeatures)
        }
      case .weightStationary:
        for (rows, rowTiles) in tile.pieces(inputFeatures, min(tile.run, tile.rows)) {
          cycles +=
            columnTiles * rowTiles
            * tile.cycles(tokens: tokens, outputFeatures: columns, inputFeatures: rows)
        }
      }
    }
    known[size] = cycles
    return cycles
  }
}

/// The loops of one tiling.
private struct TileWalk {
  struct Step {
    let tokens, outputFeatures, inputFeatures: Int
    /// Bits to load before it: only what is not there yet.
    let weightBits, activationBits: Int
    /// Outputs that the step before it finished.
    let previousOutputBits: Int
  }

  let product: SystolicProduct
  let tiling: SystolicTiling
  let keepsActivations: Bool
  let outputBits: Int

  init(_ product: SystolicProduct, _ tiling: SystolicTiling, _ array: SystolicArray) {
    self.product = product
    self.tiling = tiling
    outputBits = array.outputBits
    keepsActivations =
      product.activationTileBits(tokens: tiling.tokens, inputFeatures: product.inputFeatures)
      <= array.activationBufferBytes * 4
  }

  private func size(_ index: Int, _ tile: Int, of whole: Int) -> Int {
    min(tile, whole - index * tile)
  }

  /// Outputs of the last tile, stored when all work is done.
  var lastOutputBits: Int {
    let (b, o) = (product.tokens, product.outputFeatures)
    return size(b.dividedUp(by: tiling.tokens) - 1, tiling.tokens, of: b)
      * size(o.dividedUp(by: tiling.outputFeatures) - 1, tiling.outputFeatures, of: o) * outputBits
  }

  func forEachStep(_ body: (Step) -> Void) {
    let (b, o, k) = (product.tokens, product.outputFeatures, product.inputFeatures)
    let counts = (
      b: b.dividedUp(by: tiling.tokens), o: o.dividedUp(by: tiling.outputFeatures),
      k: k.dividedUp(by: tiling.inputFeatures)
    )
    let isWeightsOuter = tiling.order == .weightsOuter
    var loaded: (weights: (Int, Int)?, activations: (Int, Int)?) = (nil, nil)
    var finished = 0
    for outer in 0..<(isWeightsOuter ? counts.o : counts.b) {
      for inner in 0..<(isWeightsOuter ? counts.b : counts.o) {
        let (oi, bi) = isWeightsOuter ? (outer, inner) : (inner, outer)
        let tokens = size(bi, tiling.tokens, of: b)
        let outputs = size(oi, tiling.outputFeatures, of: o)
        for ki in 0..<counts.k {
          let inputs = size(ki, tiling.inputFeatures, of: k)
          var (weightBits, activationBits) = (0, 0)
          if loaded.weights.map({ $0 != (oi, ki) }) ?? true {
            weightBits = product.weightTileBits(outputFeatures: outputs, inputFeatures: inputs)
            loaded.weights = (oi, ki)
          }
          let place = (bi, keepsActivations ? 0 : ki)
          if loaded.activations.map({ $0 != place }) ?? true {
            activationBits = product.activationTileBits(
              tokens: tokens, inputFeatures: keepsActivations ? k : inputs)
            loaded.activations = place
          }
          body(
            Step(
              tokens: tokens, outputFeatures: outputs, inputFeatures: inputs,
              weightBits: weightBits, activationBits: activationBits, previousOutputBits: finished))
          finished = ki == counts.k - 1 ? tokens * outputs * outputBits : 0
        }
      }
    }
  }
}

extension SystolicTile {
  /// `whole` cut into tiles of `size` and what is left, as (size, how many).
  func cut(_ whole: Int, _ size: Int) -> [(size: Int, count: Int)] {
    guard size < whole else { return [(whole, 1)] }
    let rest = whole % size
    return [(size, whole / size)] + (rest > 0 ? [(rest, 1)] : [])
  }
}
