internal import BitplanCheckpoint
internal import BitplanEngine
internal import BitplanKernels

/// A float pass over many sequences, one layer after the other.
///
/// All sequences go through a layer before the next one begins, so that what is gathered about a
/// layer's inputs can be used and put away before more comes: memory holds one layer's statistics,
/// not those of the whole model. Hidden states wait on disk.
struct LayerSweep {
  let session: Session
  let windows: [[Int]]

  /// Runs all layers and returns the last hidden states of every sequence.
  ///
  /// - Parameters:
  ///   - progress: called after each sequence of each layer; may throw to stop.
  ///   - layerDone: called when all sequences have passed a layer.
  func run(
    progress: (_ layer: Int, _ window: Int) throws -> Void, layerDone: (_ layer: Int) throws -> Void
  ) throws -> HiddenStates {
    let states = try HiddenStates()
    for window in windows {
      try states.append(try session.hiddenStates(of: window, beforeLayer: 0))
    }
    for layer in 0..<session.model.layerCount {
      for index in windows.indices {
        let matrix = try states.load(index)
        try session.run(layer: layer, on: matrix)
        try states.replace(index, with: matrix)
        try progress(layer, index)
      }
      try layerDone(layer)
    }
    return states
  }
}

/// Hidden states of sequences, `[tokens, width]` each, on disk.
final class HiddenStates {
  private let file: ScratchFile
  private var places: [(range: Range<Int>, rows: Int, columns: Int)] = []

  init() throws { file = try ScratchFile() }

  /// Sequences.
  var count: Int { places.count }

  func append(_ states: FloatMatrix) throws {
    places.append(
      (try file.append(states, rows: states.rows), states.rows, states.columns))
  }

  func replace(_ index: Int, with states: FloatMatrix) throws {
    try states.withUnsafeBufferPointer {
      try file.replace(places[index].range, with: UnsafeRawBufferPointer($0))
    }
  }

  func load(_ index: Int) throws -> FloatMatrix { try loader(index) }

  /// Reads what was appended so far, for as long as it is held.
  var loader: LanguageModelEvaluation.Reference.StateLoader {
    let (file, places) = (file, places)
    return { index throws(EngineError) in
      let place = places[index]
      do {
        return try file.matrix(place.range, rows: place.rows, columns: place.columns)
      } catch {
        throw EngineError("\(error)")
      }
    }
  }
}
