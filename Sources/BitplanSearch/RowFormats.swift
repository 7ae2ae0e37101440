public import BitplanCore

/// The format of every row of an operator: a byte a row.
///
/// A search weighs thousands of candidates, and the rows of one that mixes formats lie scattered:
/// their ranges take more memory than everything else the search knows. Segments are made of the few
/// candidates that something is asked of.
public struct RowFormats: Hashable, Sendable {
  /// The formats that rows have, ascending.
  public let formats: [WeightFormat]
  /// Index into ``formats`` for every row; empty where all rows have the only one.
  private let places: [UInt8]
  private let rowCount: Int

  /// Rows of segments that are disjoint and cover all rows.
  public init(_ segments: [Plan.Segment]) {
    let formats = segments.map(\.format).sorted()
    rowCount = segments.reduce(0) { $0 + $1.rowCount }
    var places = [UInt8](repeating: 0, count: formats.count > 1 ? rowCount : 0)
    for segment in segments where formats.count > 1 {
      guard let place = formats.firstIndex(of: segment.format) else { continue }
      for row in segment.rows.joined() { places[row] = UInt8(place) }
    }
    self.formats = formats
    self.places = places
  }

  /// Formats by row.
  ///
  /// - Parameters:
  ///   - assignment: index into `candidates` for every row; at least one row.
  ///   - candidates: at most 256 formats, each once.
  init(_ assignment: [Int], of candidates: [WeightFormat]) {
    let used = Set(assignment).sorted { candidates[$0] < candidates[$1] }
    rowCount = assignment.count
    formats = used.map { candidates[$0] }
    var place = [UInt8](repeating: 0, count: candidates.count)
    for (index, candidate) in used.enumerated() { place[candidate] = UInt8(index) }
    places = used.count > 1 ? assignment.map { place[$0] } : []
  }

  /// Formats and rows; ascending formats, disjoint rows, all rows covered.
  public var segments: [Plan.Segment] {
    guard formats.count > 1 else {
      return formats.map { Plan.Segment(format: $0, rows: [0..<rowCount]) }
    }
    var ranges = [[Range<Int>]](repeating: [], count: formats.count)
    var start = 0
    // A run ends where the next row has another format.
    for row in places.indices where row + 1 == rowCount || places[row + 1] != places[row] {
      ranges[Int(places[row])].append(start..<row + 1)
      start = row + 1
    }
    return zip(formats, ranges).map { Plan.Segment(format: $0, rows: $1) }
  }
}
