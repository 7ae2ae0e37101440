/// Keeps the points of a frontier that a plan is likely to pick.
enum FrontierThinning {
  /// At most `limit` of `points`, in ascending order of stored bytes, then loss.
  ///
  /// The points of least bytes, of least loss and of least time stay. The others are taken in
  /// rounds over equal shares of the range of bytes, those nearest a convex hull of loss against
  /// bytes or against a time first.
  static func thinned(_ points: [Frontier.Point], to limit: Int) -> [Frontier.Point] {
    let sorted = points.sorted { ($0.storedBytes, $0.loss) < ($1.storedBytes, $1.loss) }
    guard sorted.count > limit else { return sorted }
    let axes =
      [sorted.map { Double($0.storedBytes) }]
      + sorted[0].seconds.indices.map { k in sorted.map { $0.seconds[k] } }
    let losses = sorted.map(\.loss)
    var distances = [Double](repeating: .infinity, count: sorted.count)
    for axis in axes {
      for (index, distance) in distancesAboveHull(axis, losses).enumerated() {
        distances[index] = min(distances[index], distance)
      }
    }

    var kept: Set<Int> = []
    for values in axes + [losses] where kept.count < limit {
      kept.insert(values.indices.min { (values[$0], losses[$0]) < (values[$1], losses[$1]) }!)
    }
    let (first, last) = (axes[0].first!, axes[0].last!)
    let width = (last - first) / Double(limit)
    var shares = [[Int]](repeating: [], count: limit)
    for index in sorted.indices {
      let share = width > 0 ? Int((axes[0][index] - first) / width) : 0
      shares[min(limit - 1, share)].append(index)
    }
    for share in shares.indices {
      shares[share].sort {
        distances[$0] != distances[$1] ? distances[$0] > distances[$1] : $0 > $1
      }
    }
    while kept.count < limit {
      for share in shares.indices where kept.count < limit {
        if let index = shares[share].popLast() { kept.insert(index) }
      }
    }
    return kept.sorted().map { sorted[$0] }
  }

  /// How far every point lies above the lower convex hull of `losses` against `uses`, relative to
  /// the hull's loss there.
  static func distancesAboveHull(_ uses: [Double], _ losses: [Double]) -> [Double] {
    let order = uses.indices.sorted {
      uses[$0] != uses[$1]
        ? uses[$0] < uses[$1] : losses[$0] != losses[$1] ? losses[$0] < losses[$1] : $0 < $1
    }
    var hull: [Int] = []
    for index in order {
      if let last = hull.last, uses[last] == uses[index] { continue }
      while hull.count >= 2 {
        let (a, b) = (hull[hull.count - 2], hull[hull.count - 1])
        let cross =
          (uses[b] - uses[a]) * (losses[index] - losses[a])
          - (losses[b] - losses[a]) * (uses[index] - uses[a])
        if cross > 0 { break }
        hull.removeLast()
      }
      hull.append(index)
    }
    let floor = (losses.max() ?? 0) * 1e-12 + .leastNormalMagnitude
    var result = [Double](repeating: 0, count: uses.count)
    var segment = 0
    for index in order {
      while segment + 1 < hull.count - 1, uses[hull[segment + 1]] <= uses[index] { segment += 1 }
      let a = hull[segment]
      var level = losses[a]
      if segment + 1 < hull.count {
        let b = hull[segment + 1]
        let share = (uses[index] - uses[a]) / (uses[b] - uses[a])
        level += (losses[b] - losses[a]) * min(1, max(0, share))
      }
      result[index] = max(0, losses[index] - level) / (max(0, level) + floor)
    }
    return result
  }
}
