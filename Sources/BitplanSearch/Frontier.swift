public import BitplanCore

/// Ways to store one operator whose rows may have different formats.
///
/// The integer program picks one point of every operator's frontier, so its size does not grow with
/// the rows.
public enum Frontier {
  /// One way to store an operator.
  public struct Point: Hashable, Sendable {
    /// Sum of the rows' losses.
    public let loss: Double
    /// Exact stored bytes: segments with their padding, and the row map where there are several.
    public let storedBytes: Int
    /// Sums of the segments' seconds, in the order that the caller's closure gives.
    public let seconds: [Double]
    /// The format of every row.
    public let rows: RowFormats
    /// Formats and rows; ascending formats, disjoint rows, all rows covered.
    public var segments: [Plan.Segment] { rows.segments }

    /// The point as a choice whose uses are stored bytes, then seconds.
    public var choice: AssignmentProblem.Choice {
      AssignmentProblem.Choice(loss: loss, uses: [Double(storedBytes)] + seconds)
    }
  }

  /// Builds the frontier of an operator.
  ///
  /// At a price for a stored byte every row has a best format; rows are then moved where it costs
  /// least until every segment but the last is a multiple of the kernel's tile height. Prices are
  /// taken over the whole range of what rows would pay; at every price the most used formats are
  /// mixed, at most `segmentLimit` of them, and the two most used alone. Every uniform format is a
  /// candidate too. Dominated candidates are dropped, and
  /// of the rest those nearest the convex hulls of loss against bytes and against seconds are kept.
  ///
  /// - Parameters:
  ///   - rows: predicted loss of every row in every format, `[outputFeatures][formats]`, in the
  ///     sensitivity's metric; finite and not negative.
  ///   - formats: the candidate formats, each once.
  ///   - inputFeatures: columns of the operator.
  ///   - pointLimit: at most this many points are returned; at least 2.
  ///   - segmentLimit: formats that a point may mix; at least 1. Kernels pay for every segment.
  ///   - seconds: times of a segment of `rowCount` rows in a format, such as decode and prefill
  ///     seconds; always the same number of values.
  /// - Returns: points in ascending order of stored bytes, then loss. The same for the same input.
  /// - Throws: ``SearchError/invalidProblem(_:)`` where the numbers make no sense.
  /// - Complexity: O(p·r·f + r·f·log(r·f)) for `p` points, `r` rows and `f` formats.
  public static func build(
    rows: [[Double]], formats: [WeightFormat], inputFeatures: Int, pointLimit: Int = 40,
    segmentLimit: Int = 4,
    seconds: (_ format: WeightFormat, _ rowCount: Int) -> [Double] = { _, _ in [] }
  ) throws(SearchError) -> [Point] {
    try validate(
      rows: rows, formats: formats, inputFeatures: inputFeatures, pointLimit: pointLimit,
      segmentLimit: segmentLimit)
    // Cheapest format first, so that a lower index is never more expensive.
    let order = formats.indices.sorted { a, b in
      let bytes = (tileBytes(formats[a], inputFeatures), tileBytes(formats[b], inputFeatures))
      return bytes.0 != bytes.1 ? bytes.0 < bytes.1 : a < b
    }
    let partition = RowPartition(
      losses: rows.map { row in order.map { row[$0] } },
      rowBytes: order.map {
        Double(tileBytes(formats[$0], inputFeatures)) / Double(PackedLayout.tileHeight)
      })

    // A candidate is kept as a byte a row: hundreds of assignments would be megabytes.
    let ordered = order.map { formats[$0] }
    var seen: Set<RowFormats> = []
    var points: [Point] = []
    func add(_ assignment: [Int]) throws(SearchError) {
      let candidate = RowFormats(assignment, of: ordered)
      guard seen.insert(candidate).inserted else { return }
      let point = self.point(
        assignment, candidate, partition: partition, inputFeatures: inputFeatures, seconds: seconds)
      guard point.seconds.allSatisfy({ $0.isFinite && $0 >= 0 }),
        point.seconds.count == points.first?.seconds.count ?? point.seconds.count
      else {
        throw .invalidProblem(
          "A segment's seconds are \(point.seconds). Give as many numbers for every segment, finite "
            + "and not negative.")
      }
      points.append(point)
    }
    for format in order.indices { try add([Int](repeating: format, count: rows.count)) }
    for price in partition.prices(count: 2 * pointLimit) {
      let used = partition.mostUsed(price: price)
      for count in Set([2, segmentLimit]).sorted() where count <= segmentLimit {
        try add(partition.assignment(price: price, allowed: used.prefix(count).sorted()))
      }
    }
    points = Dominance.undominated(points.map(\.choice)).map { points[$0] }
    return FrontierThinning.thinned(points, to: pointLimit)
  }

  private static func point(
    _ assignment: [Int], _ rows: RowFormats, partition: RowPartition, inputFeatures: Int,
    seconds: (WeightFormat, Int) -> [Double]
  ) -> Point {
    let loss = assignment.enumerated().reduce(0.0) {
      $0 + partition.loss($1.offset, $1.element)
    }
    let segments = rows.segments
    let shape = MatrixShape(outputFeatures: assignment.count, inputFeatures: inputFeatures)
    var total: [Double] = []
    for segment in segments {
      let times = seconds(segment.format, segment.rowCount)
      if total.isEmpty { total = times } else { total = zip(total, times).map { $0 + $1 } }
    }
    return Point(
      loss: loss,
      storedBytes: Plan.Assignment(name: "", shape: shape, segments: segments).storedBytes,
      seconds: total, rows: rows)
  }

  /// Bytes of one full tile without the padding between sections.
  private static func tileBytes(_ format: WeightFormat, _ inputFeatures: Int) -> Int {
    let layout = PackedLayout(
      format,
      MatrixShape(outputFeatures: PackedLayout.tileHeight, inputFeatures: inputFeatures))
    return layout.codesBytes + layout.scalesBytes + layout.zeroPointsBytes
  }

  private static func validate(
    rows: [[Double]], formats: [WeightFormat], inputFeatures: Int, pointLimit: Int,
    segmentLimit: Int
  ) throws(SearchError) {
    guard !rows.isEmpty, inputFeatures > 0 else {
      throw .invalidProblem(
        "An operator of \(rows.count)×\(inputFeatures) has no weights. Give at least one row and column."
      )
    }
    guard !formats.isEmpty, Set(formats).count == formats.count else {
      throw .invalidProblem(
        "The formats are [\(formats.map(\.identifier).joined(separator: ", "))]. Give at least one, each once."
      )
    }
    guard pointLimit >= 2 else {
      throw .invalidProblem("A frontier of \(pointLimit) points has no ends. Ask for at least 2.")
    }
    guard segmentLimit >= 1 else {
      throw .invalidProblem("A point of \(segmentLimit) segments stores nothing. Allow at least 1.")
    }
    for (index, row) in rows.enumerated() {
      guard row.count == formats.count else {
        throw .invalidProblem(
          "Row \(index) has \(row.count) losses for \(formats.count) formats. Give one for every format."
        )
      }
      guard row.allSatisfy({ $0.isFinite && $0 >= 0 }) else {
        throw .invalidProblem(
          "Row \(index) has losses \(row). Give finite numbers that are not negative.")
      }
    }
  }
}
