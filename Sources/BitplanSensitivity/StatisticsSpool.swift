internal import BitplanCheckpoint
internal import BitplanKernels
internal import BitplanQuantizers
internal import Synchronization

/// Matrices on disk that a later step reads back one at a time.
///
/// The products of a model's inputs take more memory than the model itself, its samples nearly as
/// much, and both are used an operator at a time. The one that was read last stays in memory, since
/// operators that share an input come one after the other.
final class StatisticsSpool: Sendable {
  private let file: ScratchFile
  private let last = Mutex<(range: Range<Int>, value: any Sendable)?>(nil)

  init() throws { file = try ScratchFile() }

  /// Sets the first `rows` rows of `matrix` aside and returns what reads them back.
  func store(_ matrix: FloatMatrix, rows: Int) throws -> @Sendable () -> FloatMatrix {
    let columns = matrix.columns
    let range = try file.append(matrix, rows: rows)
    return { [self] in
      kept(range) { self.matrix(range, rows: rows, columns: columns) }
    }
  }

  /// Sets a curvature aside and returns what reads it back.
  func store(_ curvature: InputCurvature) throws -> @Sendable () -> InputCurvature {
    let size = curvature.size
    let first = try file.append(curvature.matrix, rows: size)
    let second = try file.append(curvature.feedback, rows: size)
    let (damping, order) = (curvature.damping, curvature.order)
    return { [self] in
      kept(first) {
        InputCurvature(
          matrix: matrix(first, rows: size, columns: size), damping: damping,
          feedback: matrix(second, rows: size, columns: size), order: order)
      }
    }
  }

  private func matrix(_ range: Range<Int>, rows: Int, columns: Int) -> FloatMatrix {
    do { return try file.matrix(range, rows: rows, columns: columns) } catch {
      // The file is this process's own and was written whole: as with memory that cannot be
      // paged in, there is nothing to go on with.
      preconditionFailure("\(error)")
    }
  }

  private func kept<Value: Sendable>(_ range: Range<Int>, _ make: () -> Value) -> Value {
    if let value = last.withLock({ $0?.range == range ? $0?.value as? Value : nil }) {
      return value
    }
    let value = make()
    last.withLock { $0 = (range, value) }
    return value
  }
}
