import BitplanCore
import BitplanSearch
import Testing

struct FrontierTests {
  static let formats = ["int2_g64", "int3_g64", "int4_g64", "int5_g64", "int6_g64", "int8_g64"]
    .map { WeightFormat(identifier: $0)! }

  /// Rows whose sensitivities spread over orders of magnitude, as salience does.
  static func losses(rows: Int, seed: UInt64) -> [[Double]] {
    var generator = SeededGenerator(state: seed)
    return (0..<rows).map { _ in
      var sensitivity = 1e-6
      for _ in 0..<Int.random(in: 0...12, using: &generator) { sensitivity *= 2 }
      return formats.map { format in
        var loss = sensitivity
        for _ in 0..<format.bitWidth { loss /= 4 }
        return loss * Double.random(in: 0.8...1.2, using: &generator)
      }
    }
  }

  static func seconds(_ format: WeightFormat, _ rowCount: Int) -> [Double] {
    [1e-7 + Double(rowCount * format.bitWidth) * 1e-9, 2e-7 + Double(rowCount) * 1e-8]
  }

  @Test(
    "points state exactly what their segments cost",
    arguments: [1, 15, 16, 17, 96, 250, 1000], [8, 40])
  func pointsAreExact(_ rows: Int, _ pointLimit: Int) throws {
    let losses = Self.losses(rows: rows, seed: UInt64(rows))
    let points = try Frontier.build(
      rows: losses, formats: Self.formats, inputFeatures: 192, pointLimit: pointLimit,
      seconds: Self.seconds)
    #expect(!points.isEmpty && points.count <= pointLimit)
    for point in points {
      #expect(point.segments.count <= 4)
      var formatOfRow = [WeightFormat?](repeating: nil, count: rows)
      var bytes = 0
      var times = [0.0, 0.0]
      for segment in point.segments {
        for row in segment.rows.joined() {
          #expect(formatOfRow[row] == nil)
          formatOfRow[row] = segment.format
        }
        bytes += segment.format.storedBytes(
          MatrixShape(outputFeatures: segment.rowCount, inputFeatures: 192))
        let cost = Self.seconds(segment.format, segment.rowCount)
        times = [times[0] + cost[0], times[1] + cost[1]]
      }
      if point.segments.count > 1 {
        bytes += Plan.Assignment.rowMapBytes(
          outputFeatures: rows, segmentCount: point.segments.count)
      }
      let formats = try formatOfRow.map { try #require($0) }
      #expect(RowFormats(point.segments) == point.rows)
      #expect(point.rows.formats == point.segments.map(\.format))
      #expect(point.storedBytes == bytes)
      #expect(point.seconds == times)
      let loss = zip(losses, formats).reduce(0.0) {
        $0 + $1.0[Self.formats.firstIndex(of: $1.1)!]
      }
      #expect(point.loss == loss)
      #expect(point.choice.uses == [Double(bytes)] + times)
      // At most one segment is not a multiple of the tile height.
      let odd = point.segments.filter { $0.rowCount % PackedLayout.tileHeight != 0 }
      #expect(odd.count == (rows % PackedLayout.tileHeight == 0 ? 0 : 1))
    }
    for (a, b) in zip(points, points.dropFirst()) { #expect(a.storedBytes <= b.storedBytes) }
  }

  @Test("no point dominates another, and no uniform format beats the frontier")
  func isAFrontier() throws {
    let losses = Self.losses(rows: 320, seed: 2)
    let points = try Frontier.build(
      rows: losses, formats: Self.formats, inputFeatures: 256, pointLimit: 60)
    for a in points {
      for b in points where a != b {
        #expect(!(a.loss <= b.loss && a.storedBytes <= b.storedBytes))
      }
    }
    for (index, format) in Self.formats.enumerated() {
      let loss = losses.reduce(0.0) { $0 + $1[index] }
      let bytes = format.storedBytes(MatrixShape(outputFeatures: 320, inputFeatures: 256))
      // Thinning keeps the points near the hull, so at every uniform size something is as good
      // within two per cent.
      #expect(points.contains { $0.storedBytes <= bytes && $0.loss <= loss * 1.02 })
    }
    // Rows that differ a thousandfold must gain from mixing: half of uniform int4's loss at its size.
    let uniform = losses.reduce(0.0) { $0 + $1[2] }
    let bytes = Self.formats[2].storedBytes(MatrixShape(outputFeatures: 320, inputFeatures: 256))
    let best = points.filter { $0.storedBytes <= bytes }.map(\.loss).min()!
    #expect(best < 0.5 * uniform)
  }

  @Test("near the best mix of two formats that enumeration over tiles finds")
  func agreesWithEnumeration() throws {
    // With two formats the best split of k tiles takes the rows that gain most.
    let formats = [Self.formats[0], Self.formats[2]]
    let losses = Self.losses(rows: 128, seed: 8).map { [$0[0], $0[2]] }
    let points = try Frontier.build(
      rows: losses, formats: formats, inputFeatures: 64, pointLimit: 40)
    let gains = losses.map { $0[0] - $0[1] }.sorted(by: >)
    let all = losses.reduce(0.0) { $0 + $1[0] }
    for tiles in 0...8 {
      let best = all - gains.prefix(16 * tiles).reduce(0, +)
      let segments = [(formats[0], 128 - 16 * tiles), (formats[1], 16 * tiles)].filter { $0.1 > 0 }
      let bytes =
        segments.reduce(0) {
          $0 + $1.0.storedBytes(MatrixShape(outputFeatures: $1.1, inputFeatures: 64))
        }
        + (segments.count > 1
          ? Plan.Assignment.rowMapBytes(outputFeatures: 128, segmentCount: segments.count) : 0)
      // Sums in another order: 128 roundings.
      let found = points.contains {
        $0.storedBytes <= bytes && $0.loss <= best + all * 128 * 0x1p-52
      }
      #expect(found, "no point as good as \(tiles) tiles")
    }
  }

  @Test("equal rows stay whole, and one format is one point")
  func degenerate() throws {
    let equal = [[Double]](repeating: [3, 2, 1], count: 64)
    let points = try Frontier.build(
      rows: equal, formats: Array(Self.formats[0..<3]), inputFeatures: 64)
    #expect(points.map(\.segments.count).contains(1))
    let single = try Frontier.build(rows: equal.map { [$0[0]] }, formats: [.f16], inputFeatures: 64)
    #expect(single.count == 1)
    #expect(single[0].segments == [Plan.Segment(format: .f16, rows: [0..<64])])
    #expect(single[0].loss == 192)
    let zero = try Frontier.build(
      rows: [[Double]](repeating: [0, 0], count: 20), formats: Array(Self.formats[0..<2]),
      inputFeatures: 64)
    #expect(zero.count == 1)
    #expect(zero[0].segments[0].format == Self.formats[0])
  }

  @Test("points mix no more formats than allowed", arguments: [1, 2, 3, 6])
  func segmentLimitHolds(_ limit: Int) throws {
    let points = try Frontier.build(
      rows: Self.losses(rows: 640, seed: 3), formats: Self.formats, inputFeatures: 128,
      segmentLimit: limit)
    #expect(points.map(\.segments.count).max() == limit)
  }

  @Test func isDeterministic() throws {
    let losses = Self.losses(rows: 300, seed: 5)
    func build() throws -> [Frontier.Point] {
      try Frontier.build(
        rows: losses, formats: Self.formats, inputFeatures: 128, seconds: Self.seconds)
    }
    #expect(try build() == build())
  }

  @Test func refusesNonsense() {
    let formats = Array(Self.formats[0..<2])
    #expect(throws: SearchError.self) {
      try Frontier.build(rows: [], formats: formats, inputFeatures: 64)
    }
    #expect(throws: SearchError.self) {
      try Frontier.build(rows: [[1, 1]], formats: formats, inputFeatures: 0)
    }
    #expect(throws: SearchError.self) {
      try Frontier.build(rows: [[1]], formats: formats, inputFeatures: 64)
    }
    #expect(throws: SearchError.self) {
      try Frontier.build(rows: [[1, .nan]], formats: formats, inputFeatures: 64)
    }
    #expect(throws: SearchError.self) {
      try Frontier.build(rows: [[1, -1]], formats: formats, inputFeatures: 64)
    }
    #expect(throws: SearchError.self) {
      try Frontier.build(rows: [[]], formats: [], inputFeatures: 64)
    }
    #expect(throws: SearchError.self) {
      try Frontier.build(rows: [[1, 1]], formats: [.f16, .f16], inputFeatures: 64)
    }
    #expect(throws: SearchError.self) {
      try Frontier.build(rows: [[1, 1]], formats: formats, inputFeatures: 64, pointLimit: 1)
    }
    #expect(throws: SearchError.self) {
      try Frontier.build(rows: [[1, 1]], formats: formats, inputFeatures: 64) { _, _ in [.nan] }
    }
    #expect(throws: SearchError.self) {
      try Frontier.build(rows: [[1, 1]], formats: formats, inputFeatures: 64, segmentLimit: 0)
    }
  }
}
