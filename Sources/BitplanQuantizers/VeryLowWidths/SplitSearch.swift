/// BiLLM's two searches in one block of columns: how many columns are salient, and where weights
/// near 0 end.
struct SplitSearch {
  /// Salient columns and the others.
  private(set) var salient: [Int] = []
  private(set) var plain: [Int] = []
  /// Magnitudes up to this share one factor.
  private(set) var threshold: Float = 0

  /// Thresholds that are tried, in hundredths of the largest magnitude.
  private static let hundredths = 10...90

  /// - Parameters:
  ///   - values: `[rows · columns]`.
  ///   - saliency: what a column's squares are multiplied by.
  init(
    _ values: [Float], columns: Int, _ range: Range<Int>, saliency: (Int) -> Double,
    salientLimit: Int
  ) {
    let rows = values.count / max(1, columns)
    let scores = range.map { column in
      saliency(column)
        * (0..<rows).reduce(0.0) {
          let value = Double(values[$1 * columns + column])
          return $0 + value * value
        }
    }
    let order = range.sorted {
      let (a, b) = (scores[$0 - range.lowerBound], scores[$1 - range.lowerBound])
      return a != b ? a > b : $0 < $1
    }
    let limit = min(salientLimit, max(0, range.count - 1))
    var errors = [Double](repeating: 0, count: limit + 1)
    for row in 0..<rows {
      let magnitudes = order.map { Double(abs(values[row * columns + $0])) }
      Self.addErrors(magnitudes, to: &errors)
    }
    // Salience is searched for from one column up, where it is allowed at all.
    let count = limit == 0 ? 0 : (1...limit).min { errors[$0] < errors[$1] } ?? 0
    salient = Array(order.prefix(count))
    plain = order.dropFirst(count).sorted()
    threshold = Self.threshold(values, rows: rows, columns: columns, plain)
  }

  /// Adds, for every number of leading salient columns, one row's squared error: those binarised
  /// twice, the others once.
  private static func addErrors(_ magnitudes: [Double], to errors: inout [Double]) {
    var (sum, squares) = (0.0, 0.0)
    var tail = magnitudes.reduce(0, +)
    var tailSquares = magnitudes.reduce(0) { $0 + $1 * $1 }
    for count in errors.indices {
      if count > 0 {
        let value = magnitudes[count - 1]
        (sum, squares) = (sum + value, squares + value * value)
        (tail, tailSquares) = (tail - value, tailSquares - value * value)
      }
      var error = tailSquares - tail * tail / Double(max(1, magnitudes.count - count))
      if count > 0 {
        let first = sum / Double(count)
        let left = magnitudes[..<count].reduce(0) { $0 + abs($1 - first) }
        error += squares - sum * first - left * left / Double(count)
      }
      errors[count] += error
    }
  }

  /// The threshold with the least squared error of all rows.
  private static func threshold(
    _ values: [Float], rows: Int, columns: Int, _ plain: [Int]
  ) -> Float {
    var largest: Float = 0
    for row in 0..<rows {
      for column in plain { largest = max(largest, abs(values[row * columns + column])) }
    }
    guard largest > 0 else { return 0 }
    // Magnitudes fall into bins between thresholds, whose counts and sums add up from below.
    let thresholds = hundredths.map { largest * Float($0) / 100 }
    var errors = [Double](repeating: 0, count: thresholds.count)
    for row in 0..<rows {
      var counts = [Double](repeating: 0, count: thresholds.count + 1)
      var sums = counts
      for column in plain {
        let magnitude = abs(values[row * columns + column])
        var bin = min(max(Int(magnitude / largest * 100) - 9, 0), thresholds.count)
        while bin > 0, magnitude <= thresholds[bin - 1] { bin -= 1 }
        while bin < thresholds.count, magnitude > thresholds[bin] { bin += 1 }
        counts[bin] += 1
        sums[bin] += Double(magnitude)
      }
      let (count, sum) = (counts.reduce(0, +), sums.reduce(0, +))
      var (below, sumBelow) = (0.0, 0.0)
      for index in thresholds.indices {
        below += counts[index]
        sumBelow += sums[index]
        // Without the rows' squares, which are the same for every threshold.
        errors[index] -=
          sumBelow * sumBelow / max(1, below)
          + (sum - sumBelow) * (sum - sumBelow) / max(1, count - below)
      }
    }
    let best = errors.indices.min { errors[$0] < errors[$1] } ?? 0
    return thresholds[best]
  }

  /// Magnitudes of a row's salient columns, given its values by column.
  func salientPair(_ value: (Int) -> Float) -> SignPair {
    let count = Float(max(1, salient.count))
    let first = SignPair(
      first: salient.reduce(0) { $0 + abs(value($1)) } / count, second: 0
    ).first
    let left = salient.reduce(Float(0)) { $0 + abs(abs(value($1)) - first) } / count
    return SignPair(first: first, second: left)
  }

  /// Half the sum and half the difference of the two magnitudes of a row's other columns.
  func plainPair(_ value: (Int) -> Float) -> SignPair {
    var (near, nearCount, far, farCount) = (Float(0), Float(0), Float(0), Float(0))
    for column in plain {
      let magnitude = abs(value(column))
      if magnitude > threshold {
        (far, farCount) = (far + magnitude, farCount + 1)
      } else {
        (near, nearCount) = (near + magnitude, nearCount + 1)
      }
    }
    let small = near / max(1, nearCount)
    // A row without large weights keeps one magnitude.
    let large = farCount > 0 ? far / farCount : small
    return SignPair(first: (large + small) / 2, second: (large - small) / 2)
  }
}
