internal import BitplanCore

/// Which row of an operator takes which format, at a price for a byte.
struct RowPartition {
  /// Rows of the operator.
  let rowCount: Int
  /// Loss of every row in every format, `[row][format]`, formats in ascending order of bytes.
  let losses: [Double]
  /// Stored bytes of one row in every format, ascending.
  let rowBytes: [Double]

  private static let tileHeight = PackedLayout.tileHeight

  /// - Parameters:
  ///   - losses: `[row][format]`.
  ///   - rowBytes: one for every format, ascending.
  init(losses: [[Double]], rowBytes: [Double]) {
    rowCount = losses.count
    self.losses = losses.flatMap { $0 }
    self.rowBytes = rowBytes
  }

  /// Loss of a row in a format.
  func loss(_ row: Int, _ format: Int) -> Double { losses[row * rowBytes.count + format] }

  /// Prices at which rows change their format, `count` of them evenly spaced in rank: what the rows
  /// would pay for a byte, from the row that pays most to the one that pays least.
  func prices(count: Int) -> [Double] {
    var offers: [Double] = []
    var hull: [Int] = []
    for row in 0..<rowCount {
      // The row's convex hull of loss against bytes: slopes fall along it.
      hull.removeAll(keepingCapacity: true)
      for format in rowBytes.indices {
        if let last = hull.last, loss(row, format) >= loss(row, last) { continue }
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
  private func slope(_ row: Int, _ cheap: Int, _ dear: Int) -> Double {
    (loss(row, cheap) - loss(row, dear)) / (rowBytes[dear] - rowBytes[cheap])
  }

  /// The formats that rows would take at `price`, those of most rows first.
  func mostUsed(price: Double) -> [Int] {
    var counts = [Int](repeating: 0, count: rowBytes.count)
    let all = Array(rowBytes.indices)
    for format in cheapestFormats(paid: rowBytes.map { $0 * price }, allowed: all) {
      counts[format] += 1
    }
    return all.filter { counts[$0] > 0 }.sorted {
      counts[$0] != counts[$1] ? counts[$0] > counts[$1] : $0 < $1
    }
  }

  /// A format of `allowed` (ascending) for every row: the best at `price`, with every format's rows
  /// a multiple of the tile height but for the cheapest one in use.
  func assignment(price: Double, allowed: [Int]) -> [Int] {
    let paid = rowBytes.map { $0 * price }
    func cost(_ row: Int, _ format: Int) -> Double { loss(row, format) + paid[format] }
    var counts = [Int](repeating: 0, count: rowBytes.count)
    var result = cheapestFormats(paid: paid, allowed: allowed)
    for format in result { counts[format] += 1 }
    // From the dearest format down: fill its last tile with rows of cheaper formats, or give its
    // rows up to them, whichever costs less at this price.
    for (position, format) in allowed.enumerated().reversed() where position > 0 {
      let remainder = counts[format] % Self.tileHeight
      if remainder == 0 { continue }
      let targets = allowed[..<position].filter { counts[$0] > 0 }
      // Nothing cheaper is in use: this is the segment that holds the remainder.
      if targets.isEmpty { break }
      let missing = Self.tileHeight - remainder
      var demotions = CheapestMoves(count: remainder)
      var promotions = CheapestMoves(count: missing)
      for row in result.indices where result[row] <= format {
        if result[row] < format {
          promotions.offer(row, price: cost(row, format) - cost(row, result[row]), target: format)
        } else {
          var target = targets[0]
          for other in targets.dropFirst() where cost(row, other) < cost(row, target) {
            target = other
          }
          demotions.offer(row, price: cost(row, target) - cost(row, format), target: target)
        }
      }
      let isFilled = promotions.moves.count == missing && promotions.price < demotions.price
      for move in isFilled ? promotions.moves : demotions.moves {
        counts[result[move.row]] -= 1
        counts[move.target] += 1
        result[move.row] = move.target
      }
    }
    return result
  }

  /// The cheapest format of every row; of equals the one with the fewest bytes.
  private func cheapestFormats(paid: [Double], allowed: [Int]) -> [Int] {
    let formatCount = rowBytes.count
    return losses.withUnsafeBufferPointer { losses in
      paid.withUnsafeBufferPointer { paid in
        (0..<rowCount).map { row in
          var best = allowed[0]
          var least = losses[row * formatCount + best] + paid[best]
          for format in allowed.dropFirst() {
            let cost = losses[row * formatCount + format] + paid[format]
            if cost < least { (best, least) = (format, cost) }
          }
          return best
        }
      }
    }
  }
}

/// The few rows that are cheapest to move; of equals the first offered.
struct CheapestMoves {
  /// A row and where it would go.
  struct Move {
    let row: Int
    let price: Double
    let target: Int
  }

  private let count: Int
  /// At most `count` moves in ascending order of price.
  private(set) var moves: [Move] = []

  /// Keeps at most `count` moves.
  init(count: Int) { self.count = count }

  /// What all of them cost together.
  var price: Double { moves.reduce(0) { $0 + $1.price } }

  /// Takes the move if it is among the cheapest so far.
  mutating func offer(_ row: Int, price: Double, target: Int) {
    if moves.count == count {
      if price >= moves[count - 1].price { return }
      moves.removeLast()
    }
    let index = moves.lastIndex { $0.price <= price }.map { $0 + 1 } ?? 0
    moves.insert(Move(row: row, price: price, target: target), at: index)
  }
}
