internal import BitplanCore

/// The plane weights, the scale and the offset of one group of binary coding:
/// `w ≈ offset + scale · Σ_i ±planeWeight_i`.
///
/// Two starts, greedy residuals (Guo et al. 2017, "Network Sketching", arXiv:1706.02021) and even
/// steps, are refined by alternation (Xu et al. 2018, arXiv:1802.00150): codes take the nearest of
/// the `2^bits` levels, magnitudes and offset the weighted least squares, rounded to what is stored
/// (``PlaneGrid``). The better end is kept.
struct BinaryFit {
  /// The magnitudes of the bits, as stored.
  private let grid: PlaneGrid
  /// A value of binary16.
  private let offset: Float
  /// Levels in ascending order with their codes.
  private var ladder: [(level: Float, code: UInt8)] = []

  private static let rounds = 8

  private init(magnitudes: [Float], offset: Float) {
    let grid = PlaneGrid(magnitudes: magnitudes)
    let offset = Float(Float16(min(max(offset, -65_504), 65_504)))
    (self.grid, self.offset) = (grid, offset)
    ladder = (0..<1 << magnitudes.count).map { code in
      (offset + grid.scale * Float(grid.weights.weight(UInt8(code))), UInt8(code))
    }.sorted { $0.level < $1.level }
  }

  /// The best fit of one group.
  static func best(
    _ weights: UnsafeBufferPointer<Float>, _ importance: UnsafeBufferPointer<Float>, bits: Int
  ) -> BinaryFit {
    let starts = [greedy(weights, importance, bits: bits), even(weights, bits: bits)]
    let ends = starts.map { $0.alternated(weights, importance) }
    return ends[0].error <= ends[1].error ? ends[0].fit : ends[1].fit
  }

  /// Each bit takes the mean magnitude of what the bits before it left over.
  private static func greedy(
    _ weights: UnsafeBufferPointer<Float>, _ importance: UnsafeBufferPointer<Float>, bits: Int
  ) -> BinaryFit {
    let total = max(importance.reduce(0, +), .leastNormalMagnitude)
    let mean = zip(weights, importance).reduce(Float(0)) { $0 + $1.0 * $1.1 } / total
    var rest = weights.map { $0 - mean }
    var scales: [Float] = []
    for _ in 0..<bits {
      let scale = zip(rest, importance).reduce(Float(0)) { $0 + abs($1.0) * $1.1 } / total
      scales.append(scale)
      for index in rest.indices { rest[index] -= rest[index] < 0 ? -scale : scale }
    }
    // The last bit is worth most, as in an integer.
    return BinaryFit(magnitudes: scales.reversed(), offset: mean)
  }

  /// Even steps from the smallest weight to the largest.
  private static func even(_ weights: UnsafeBufferPointer<Float>, bits: Int) -> BinaryFit {
    let (low, high) = (weights.min() ?? 0, weights.max() ?? 0)
    let step = (high - low) / Float((1 << bits) - 1)
    return BinaryFit(
      magnitudes: (0..<bits).map { step * Float(1 << $0) / 2 }, offset: low / 2 + high / 2)
  }

  private func alternated(
    _ weights: UnsafeBufferPointer<Float>, _ importance: UnsafeBufferPointer<Float>
  ) -> (fit: BinaryFit, error: Double) {
    var best = self
    var (sums, bestError) = best.sums(weights, importance)
    for _ in 0..<Self.rounds {
      guard let next = sums.leastSquares(bits: grid.weights.values.count) else { break }
      let fit = BinaryFit(magnitudes: next.magnitudes, offset: next.offset)
      let (nextSums, error) = fit.sums(weights, importance)
      guard error < bestError else { break }
      (best, sums, bestError) = (fit, nextSums, error)
    }
    return (best, bestError)
  }

  /// Position on the ladder of the level nearest to a weight.
  private func position(_ weight: Float) -> Int {
    var (low, high) = (0, ladder.count - 1)
    while low < high {
      let middle = (low + high) / 2
      // Halves are added so that no sum of two levels can overflow.
      let boundary = ladder[middle].level / 2 + ladder[middle + 1].level / 2
      if weight > boundary { low = middle + 1 } else { high = middle }
    }
    return low
  }

  /// What least squares needs of the weights of every code, and the squared error.
  private func sums(
    _ weights: UnsafeBufferPointer<Float>, _ importance: UnsafeBufferPointer<Float>
  ) -> (sums: CodeSums, error: Double) {
    var sums = CodeSums(codes: ladder.count)
    var error = 0.0
    for index in weights.indices {
      let (level, code) = ladder[position(weights[index])]
      let (weight, factor) = (Double(weights[index]), Double(importance[index]))
      sums.importance[Int(code)] += factor
      sums.weighted[Int(code)] += factor * weight
      let difference = weight - Double(level)
      error += factor * difference * difference
    }
    return (sums, error)
  }

  /// A whole row.
  static func fit(_ row: RowInput, format: WeightFormat) -> FittedRow {
    var result = FittedRow()
    row.forEachGroup(of: format.groupSize) { weights, importance in
      let fit = best(weights, importance, bits: format.bitWidth)
      result.scales.append(Float16(fit.grid.scale).bitPattern)
      if format.bitWidth > 1 { result.bytes += fit.grid.weights.values }
      result.offsets.append(Float16(fit.offset).bitPattern)
      result.addCodes(weights.count) { codes in
        for index in weights.indices {
          codes[index] = fit.ladder[fit.position(weights[index])].code
        }
      }
    }
    return result
  }
}

/// Importance and weighted weights, added up by code.
private struct CodeSums {
  var importance: [Double]
  var weighted: [Double]

  init(codes: Int) {
    importance = [Double](repeating: 0, count: codes)
    weighted = importance
  }

  /// The offset and the magnitudes that suit these codes best; `nil` where they are not determined.
  func leastSquares(bits: Int) -> (magnitudes: [Float], offset: Float)? {
    let size = bits + 1
    var rows = [[Double]](repeating: [Double](repeating: 0, count: size + 1), count: size)
    for code in importance.indices where importance[code] > 0 {
      let signs = (0..<size).map { $0 == 0 || code >> ($0 - 1) & 1 == 1 ? 1.0 : -1 }
      for i in 0..<size {
        for j in 0..<size { rows[i][j] += importance[code] * signs[i] * signs[j] }
        rows[i][size] += weighted[code] * signs[i]
      }
    }
    // The matrix is positive semidefinite: elimination needs no exchange of rows. What is too close
    // to singular, because some codes do not occur, keeps its magnitudes.
    let smallest = rows[0][0] * 1e-9
    for pivot in 0..<size {
      guard rows[pivot][pivot] > smallest else { return nil }
      for row in pivot + 1..<size {
        let factor = rows[row][pivot] / rows[pivot][pivot]
        for column in pivot...size { rows[row][column] -= factor * rows[pivot][column] }
      }
    }
    var solution = [Double](repeating: 0, count: size)
    for row in (0..<size).reversed() {
      let known = (row + 1..<size).reduce(0) { $0 + rows[row][$1] * solution[$1] }
      solution[row] = (rows[row][size] - known) / rows[row][row]
    }
    guard solution.allSatisfy(\.isFinite) else { return nil }
    return (solution[1...].map { Float($0) }, Float(solution[0]))
  }
}
