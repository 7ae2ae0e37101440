internal import BitplanEngine
internal import BitplanKernels

/// A float pass over many sequences, one layer after the other.
///
/// All sequences go through a layer before the next one begins, so that what is gathered about a
/// layer's inputs can be used and put away before more comes: memory holds the hidden states of the
/// sequences and one layer's statistics, not those of the whole model.
struct LayerSweep {
  let session: Session
  let windows: [[Int]]

  /// Runs all layers and returns the last hidden states of every sequence, `[tokens, width]`.
  ///
  /// - Parameters:
  ///   - progress: called after each sequence of each layer; may throw to stop.
  ///   - layerDone: called when all sequences have passed a layer.
  func run(
    progress: (_ layer: Int, _ window: Int) throws -> Void, layerDone: (_ layer: Int) throws -> Void
  ) throws -> [FloatMatrix] {
    let states = try windows.map { try session.hiddenStates(of: $0, beforeLayer: 0) }
    for layer in 0..<session.model.layerCount {
      for (index, matrix) in states.enumerated() {
        try session.run(layer: layer, on: matrix)
        try progress(layer, index)
      }
      try layerDone(layer)
    }
    return states
  }
}
