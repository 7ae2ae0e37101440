internal import BitplanCore

/// Which row of an operator takes which format, at a price for a byte.
struct RowPartition {
  /// Loss of every row in every format, `[row][format]`, formats in ascending order of bytes.
  let losses: [[Double]]
  /// Stored bytes of one row in every format, ascending.
  let rowBytes: [Double]

  private static let tileHeight = PackedLayout.tileHeight

  /// Prices at which rows change their format, `count` of them evenly spaced in rank: what the rows
  /// would pay for a byte, from the row that pays most to the one that pays least.
  func prices(count: Int) -> [Double] {
    var offers: [Double] = []
    for row in losses {
      // The row's convex hull of loss against bytes: slopes fall along it.
      var hull: [Int] = []
      for format in row.indices {
        if let last = hull.last, row[format] >= row[last] { continue }
        while let last = hull.last {
          if rowBytes[last] == rowBytes[format] {
            hull.removeLast()
          } else if hull.count >= 2,
            slope(row, hull[hull.count - 2], last) <= slope(row, last, format)
          {
            hull.removeLast()
          } else {
            break
          }
        }
        hull.append(format)
      }
      for (a, b) in zip(hull, hull.dropFirst()) { offers.append(slope(row, a, b)) }
    }
    offers.sort(by: >)
    guard !offers.isEmpty else { return [] }
    var prices: [Double] = []
    for index in 0..<count {
      let price = offers[min(offers.count - 1, (2 * index + 1) * offers.count / (2 * count))]
      if price != prices.last { prices.append(price) }
    }
    return prices
  }

  /// Loss saved per byte between two formats.
  private func slope(_ row: [Double], _ cheap: Int, _ dear: Int) -> Double {
    (row[cheap] - row[dear]) / (rowBytes[dear] - rowBytes[cheap])
  }

  /// A format of `allowed` (ascending) for every row: the best at `price`, with every format's rows
  /// a multiple of the tile height but for the cheapest one in use.
  func assignment(price: Double, allowed: [Int]) -> [Int] {
    func cost(_ row: Int, _ format: Int) -> Double { losses[row][format] + price * rowBytes[format] }
    var result = losses.indices.map { row in
      var best = allowed[0]
      for format in allowed.dropFirst() where cost(row, format) < cost(row, best) { best = format }
      return best
    }
    // From the dearest format down: fill its last tile with rows of cheaper formats, or give its
    // rows up to them, whichever costs less at this price.
    for (position, format) in allowed.enumerated().reversed() where position > 0 {
      let own = result.indices.filter { result[$0] == format }
      let remainder = own.count % Self.tileHeight
      if remainder == 0 { continue }
      let cheaper = allowed[..<position]
      let lower = result.indices.filter { result[$0] < format }
      // Nothing cheaper is in use: this is the segment that holds the remainder.
      if lower.isEmpty { break }
      var isUsed = [Bool](repeating: false, count: rowBytes.count)
      for row in lower { isUsed[result[row]] = true }
      let targets = cheaper.filter { isUsed[$0] }
      let demotions = cheapest(remainder, of: own) { row in
        let target = targets.min { cost(row, $0) < cost(row, $1) }!
        return (cost(row, target) - cost(row, format), target)
      }
      let promotions = cheapest(Self.tileHeight - remainder, of: lower) { row in
        (cost(row, format) - cost(row, result[row]), format)
      }
      let isFilled = promotions.count == Self.tileHeight - remainder
      let moves = isFilled
        && promotions.reduce(0) { $0 + $1.price } < demotions.reduce(0) { $0 + $1.price }
        ? promotions : demotions
      for move in moves { result[move.row] = move.target }
    }
    return result
  }

  private struct Move {
    let row: Int
    let price: Double
    let target: Int
  }

  /// The `count` rows that are cheapest to move; of equals the first.
  private func cheapest(
    _ count: Int, of rows: [Int], move: (Int) -> (price: Double, target: Int)
  ) -> [Move] {
    var best: [Move] = []
    for row in rows {
      let (price, target) = move(row)
      if best.count == count, price >= best[count - 1].price { continue }
      if best.count == count { best.removeLast() }
      let index = best.lastIndex { $0.price <= price }.map { $0 + 1 } ?? 0
      best.insert(Move(row: row, price: price, target: target), at: index)
    }
    return best
  }
}
