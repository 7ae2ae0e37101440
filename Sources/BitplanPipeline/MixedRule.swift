internal import BitplanCore

/// MixLLM's rule: the output features that matter most anywhere in the model get 8 bits, the rest 4.
///
/// Features are ranked by their salience over the whole model, not within their operator, and a fixed
/// share of them is taken; here they come in the table's bands. The head and the embedding stay at
/// 4 bits.
enum MixedRule {
  /// Share of output features in 8 bits.
  static let share = 0.1

  /// What the rule gives every operator, or `nil` where the table lacks 4 or 8 bits or has no bands.
  static func segments(_ table: SensitivityTable) -> [[Plan.Segment]]? {
    let formats = table.options.formats
    func smallest(_ bits: Int) -> WeightFormat? {
      let shape = MatrixShape(outputFeatures: 1024, inputFeatures: 1024)
      return formats.filter { $0.bitWidth == bits }
        .min { $0.storedBytes(shape) < $1.storedBytes(shape) }
    }
    guard let low = smallest(4), let high = smallest(8), let position = formats.firstIndex(of: low),
      table.rows.contains(where: { $0.bands != nil })
    else { return nil }

    struct Band {
      let index, band, rows: Int
      let lossPerRow: Double
    }
    var bands: [Band] = []
    var featureCount = 0
    for (index, row) in table.rows.enumerated() {
      guard let ranked = row.bands, row.operatorDescription.role == .linear else { continue }
      featureCount += ranked.rowOrder.count
      for (band, loss) in ranked.losses[position].enumerated() {
        let rows = ranked.rowCount(band)
        bands.append(
          Band(index: index, band: band, rows: rows, lossPerRow: loss / Double(rows)))
      }
    }
    bands.sort {
      $0.lossPerRow != $1.lossPerRow
        ? $0.lossPerRow > $1.lossPerRow : ($0.index, $0.band) < ($1.index, $1.band)
    }
    var taken: [Int: [Int]] = [:]
    var left = Int(share * Double(featureCount))
    for band in bands where band.rows <= left {
      taken[band.index, default: []].append(band.band)
      left -= band.rows
    }
    return table.rows.enumerated().map { index, row in
      let count = row.operatorDescription.shape.outputFeatures
      guard let ranked = row.bands, let chosen = taken[index] else {
        return [Plan.Segment(format: low, rows: [0..<count])]
      }
      var isHigh = [Bool](repeating: false, count: count)
      for band in chosen {
        let first = band * ranked.height
        for row in ranked.rowOrder[first..<first + ranked.rowCount(band)] { isHigh[row] = true }
      }
      return [(low, false), (high, true)].compactMap { format, wanted in
        let rows = ranges((0..<count).filter { isHigh[$0] == wanted })
        return rows.isEmpty ? nil : Plan.Segment(format: format, rows: rows)
      }
    }
  }

  /// Ascending rows as half-open ranges.
  private static func ranges(_ rows: [Int]) -> [Range<Int>] {
    var result: [Range<Int>] = []
    for row in rows {
      if let last = result.last, last.upperBound == row {
        result[result.count - 1] = last.lowerBound..<row + 1
      } else {
        result.append(row..<row + 1)
      }
    }
    return result
  }
}
