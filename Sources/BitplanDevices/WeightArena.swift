internal import BitplanCore
internal import BitplanKernels

/// One block of meaningless packed weights that every timed case reads through.
///
/// Timing does not depend on the values, so all formats and shapes may see the same bytes; each
/// case steps through the whole block, which is what makes caches as cold as in use, in memory
/// that does not grow with the number of cases.
final class WeightArena {
  /// More than any last-level cache holds for one tenant; larger models gain nothing from more.
  static let maximumBytes = 1 << 30

  private let bytes: AlignedBytes

  /// An arena of `workingSetBytes`, at most ``maximumBytes``, that holds `largestOperatorBytes`.
  init(workingSetBytes: Int, largestOperatorBytes: Int) {
    bytes = AlignedBytes(
      count: max(64, largestOperatorBytes, min(workingSetBytes, Self.maximumBytes)))
    bytes.withUnsafeMutableBytes { buffer in
      var generator = SeededGenerator(state: 1)
      for offset in stride(from: 0, through: buffer.count - 8, by: 8) {
        // Every 16 bits are a binary16 between 2⁻⁷ and 2⁻⁶, a sane scale wherever one is read, and
        // every byte an exponent far from subnormal numbers.
        let patterns = (generator.next() & 0x03FF_03FF_03FF_03FF) | 0x2040_2040_2040_2040
        buffer.storeBytes(of: patterns, toByteOffset: offset, as: UInt64.self)
      }
    }
  }

  /// Disjoint packed matrices of this format and shape, as many as fit.
  func copies(_ format: WeightFormat, _ shape: MatrixShape) -> [PackedOperator] {
    let layout = PackedLayout(format, shape)
    let count = min(4096, bytes.count / layout.storedBytes)
    return (0..<count).map { index in
      let begin = index * layout.storedBytes
      let slice = ByteSlice(region: bytes, range: begin..<begin + layout.storedBytes)
      do {
        return PackedOperator(try PackedMatrix(layout, bytes: slice))
      } catch {
        preconditionFailure("the slice was cut to measure: \(error)")
      }
    }
  }
}
