internal import BitplanCore
internal import CBitplanKernels

/// What kernels read of an operator's segments, gathered once. Small operators take about a
/// microsecond, so nothing is looked up, counted or retained segment by segment while they are
/// multiplied.
///
/// `@unchecked Sendable`: nothing changes after `init`. Addresses point into regions and row maps that
/// the table keeps alive; see ``ByteRegion`` for why they stay valid.
internal final class SegmentTable: @unchecked Sendable {
  /// One segment.
  struct Entry {
    /// The sections of an integer format; of `f16` the sizes alone, a group an input feature.
    let matrix: bp_matrix
    /// The weights of the `f16` format.
    let float16: UnsafePointer<UInt16>?
    /// Output feature of every packed row; `nil` when rows are in place.
    let rowMap: UnsafePointer<UInt32>?
    let tileCount: Int
    /// The place in ``SegmentTable/groupSizes`` of the activations that this segment meets.
    let form: Int
  }

  let entries: UnsafeBufferPointer<Entry>
  /// Activation group sizes of the segments, each once, in order of appearance.
  let groupSizes: UnsafeBufferPointer<Int>
  /// Tiles of all segments.
  let tileCount: Int
  private let rowMaps: UnsafeBufferPointer<UInt32>
  private let regions: [any ByteRegion]

  init(_ segments: [PackedOperator.Segment]) {
    let maps = UnsafeMutableBufferPointer<UInt32>.allocate(
      capacity: segments.reduce(0) { $0 + ($1.rowMap?.count ?? 0) })
    var mapped = 0
    var sizes: [Int] = []
    var made: [Entry] = []
    for segment in segments {
      let (matrix, layout) = (segment.matrix, segment.matrix.layout)
      let size = layout.format.activationGroupSize
      let isFloat = layout.format.coding == .float16
      if !sizes.contains(size) { sizes.append(size) }
      var map: UnsafePointer<UInt32>?
      if let rows = segment.rowMap, let base = maps.baseAddress {
        for (index, row) in rows.enumerated() { (base + mapped + index).initialize(to: row) }
        map = UnsafePointer(base + mapped)
        mapped += rows.count
      }
      made.append(
        Entry(
          matrix: matrix.withMatrix { $0 }, float16: isFloat ? matrix.withFloat16 { $0 } : nil,
          rowMap: map, tileCount: layout.tileCount, form: sizes.firstIndex(of: size) ?? 0))
    }
    rowMaps = UnsafeBufferPointer(maps)
    entries = Self.kept(made)
    groupSizes = Self.kept(sizes)
    tileCount = made.reduce(0) { $0 + $1.tileCount }
    regions = segments.map(\.matrix.bytes.region)
  }

  deinit {
    rowMaps.deallocate()
    entries.deallocate()
    groupSizes.deallocate()
  }

  private static func kept<Element: BitwiseCopyable>(
    _ values: [Element]
  ) -> UnsafeBufferPointer<Element> {
    let result = UnsafeMutableBufferPointer<Element>.allocate(capacity: values.count)
    _ = result.initialize(from: values)
    return UnsafeBufferPointer(result)
  }
}
