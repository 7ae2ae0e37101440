import BitplanDevices

/// The machine that `SystolicModel` describes, built element by element and clocked cycle by cycle.
///
/// Operands hop one element a cycle; every element multiplies and adds for real, so that a wrong
/// order shows in the product; sums queue at scale units that do one scaling a cycle; DRAM moves a
/// number of bits a cycle. Nothing here is taken from the model but the names of its inputs.
struct ReferenceArray {
  let array: SystolicArray
  let product: SystolicProduct
  let weights: [[Int]]
  let activations: [[Int]]

  init(_ array: SystolicArray, _ product: SystolicProduct) {
    self.array = array
    self.product = product
    weights = (0..<product.outputFeatures).map { o in
      (0..<product.inputFeatures).map { (o * 7 + $0 * 3) % (1 << min(product.weightBits, 10)) }
    }
    activations = (0..<product.tokens).map { t in
      (0..<product.inputFeatures).map { (t * 5 + $0 * 11) % 200 - 100 }
    }
  }

  /// Products of one element a cycle, in both directions.
  var split: (rows: Int, columns: Int) {
    var split = (rows: 1, columns: 1)
    if product.activationBits < array.activationBits {
      split.rows = array.activationBits / max(product.activationBits, array.smallestActivationBits)
    }
    if product.weightBits < array.weightBits {
      split.columns = array.weightBits / max(product.weightBits, array.smallestWeightBits)
    }
    return split
  }
  var gridRows: Int { array.rows * split.rows }
  var gridColumns: Int { array.columns * split.columns }

  /// Cycles that one product takes, as digits of weights times digits of activations.
  var digits: Int {
    var count = 0
    for _ in stride(from: 0, to: product.weightBits, by: array.weightBits) {
      for _ in stride(from: 0, to: product.activationBits, by: array.activationBits) { count += 1 }
    }
    return count
  }

  /// Input features after which a sum must leave its element.
  var run: Int {
    let groups = product.scaleBits > 0 && array.dequantization == .afterGroup
    var run = groups ? product.groupSize : product.inputFeatures
    if let bits = array.accumulatorBits {
      var longest = 1
      while product.weightBits + product.activationBits + longest.trailingZeroBitCount < bits,
        longest < 1 << 30
      {
        longest *= 2
      }
      run = min(run, longest)
    }
    return run
  }

  var scalesAfter: Bool { product.scaleBits > 0 && array.dequantization == .afterGroup }
  var scalesBefore: Bool { product.scaleBits > 0 && array.dequantization == .beforeProduct }

  /// Digit `digit` of a weight: all but the last have as many bits as make the sum come out.
  private func digit(_ weight: Int, _ digit: Int) -> Int {
    let base = 1 << 3
    let shifted = weight >> (3 * digit)
    return (digit == digits - 1 ? shifted : shifted % base) << (3 * digit)
  }

  // MARK: - One tile

  /// A sum that left the grid.
  private struct Sum {
    let token, output, value, arrival: Int
  }

  /// Clocks one tile. Adds its products to `outputs` and returns its cycles.
  func tile(
    tokens: Range<Int>, outputs: Range<Int>, inputs: Range<Int>, into result: inout [[Int]]
  ) -> Int {
    var cycles = 0
    let sums: [Sum]
    switch array.dataflow {
    case .outputStationary: (sums, cycles) = outputStationary(tokens, outputs, inputs)
    case .weightStationary: (sums, cycles) = weightStationary(tokens, outputs, inputs)
    }
    for sum in sums { result[sum.token][sum.output] += sum.value }
    return scalesAfter ? max(cycles, scaled(sums, outputs)) : cycles
  }

  /// When the weights of every input feature may enter: at once, or as the scale units deliver.
  private func entries(_ features: Int, _ columns: Int, interval: Int) -> [Int] {
    var entries: [Int] = []
    var (ready, cycle, delivered) = ([Int](), 0, 0)
    while ready.count < features {
      delivered += array.scaleUnits
      cycle += 1
      while ready.count < features, delivered >= (ready.count + 1) * columns {
        ready.append(cycle)
      }
    }
    for feature in 0..<features {
      let earliest = scalesBefore ? ready[feature] : 0
      entries.append(max(earliest, entries.last.map { $0 + interval } ?? 0))
    }
    return entries
  }

  private func outputStationary(
    _ tokens: Range<Int>, _ outputs: Range<Int>, _ inputs: Range<Int>
  ) -> ([Sum], Int) {
    let (rows, columns) = (tokens.count, outputs.count)
    let entries = entries(inputs.count, columns, interval: digits)
    // What enters the first row and column in every cycle, before the skew.
    var stream: [Int: (feature: Int, digit: Int)] = [:]
    for (index, feature) in inputs.enumerated() {
      for digit in 0..<digits { stream[entries[index] + digit] = (feature, digit) }
    }
    typealias Item = (feature: Int, digit: Int)
    var fromLeft = [[Item?]](repeating: Array(repeating: nil, count: columns), count: rows)
    var fromAbove = fromLeft
    var held = [[Int]](repeating: Array(repeating: 0, count: columns), count: rows)
    var sums: [Sum] = []
    var (cycle, lastWork, done) = (0, 0, 0)
    while done < rows * columns * inputs.count * digits {
      var (nextLeft, nextAbove) = (fromLeft, fromAbove)
      for r in 0..<rows {
        for c in 0..<columns {
          nextLeft[r][c] = c == 0 ? stream[cycle - r] : fromLeft[r][c - 1]
          nextAbove[r][c] = r == 0 ? stream[cycle - c] : fromAbove[r - 1][c]
        }
      }
      (fromLeft, fromAbove) = (nextLeft, nextAbove)
      for r in 0..<rows {
        for c in 0..<columns {
          guard let a = fromLeft[r][c], let w = fromAbove[r][c] else { continue }
          precondition(a == w, "operands meet that do not belong together")
          let (token, output) = (tokens.lowerBound + r, outputs.lowerBound + c)
          held[r][c] += activations[token][a.feature] * digit(weights[output][w.feature], w.digit)
          done += 1
          lastWork = cycle
          let place = a.feature - inputs.lowerBound + 1
          if a.digit == digits - 1, place % run == 0 || place == inputs.count {
            sums.append(Sum(token: token, output: output, value: held[r][c], arrival: cycle))
            held[r][c] = 0
          }
        }
      }
      cycle += 1
    }
    return (sums, lastWork + 1)
  }

  private func weightStationary(
    _ tokens: Range<Int>, _ outputs: Range<Int>, _ inputs: Range<Int>
  ) -> ([Sum], Int) {
    let (rows, columns) = (inputs.count, outputs.count)
    let loaded = entries(rows, columns, interval: 1)[rows - 1] + 1
    // Items are (token, digit); activations move right, sums move down.
    let items = tokens.flatMap { token in (0..<digits).map { (token: token, digit: $0) } }
    var right = [[(token: Int, digit: Int)?]](
      repeating: Array(repeating: nil, count: columns), count: rows)
    var down = [[Int]](repeating: Array(repeating: 0, count: columns), count: rows)
    var parts: [Int: [Int: Int]] = [:]
    var sums: [Sum] = []
    var cycle = loaded
    var lastWork = loaded
    while sums.count < tokens.count * columns {
      var (nextRight, nextDown) = (right, down)
      for r in 0..<rows {
        for c in 0..<columns {
          let index = cycle - loaded - r
          nextRight[r][c] =
            c == 0 ? (items.indices.contains(index) ? items[index] : nil) : right[r][c - 1]
          nextDown[r][c] = r == 0 ? 0 : down[r - 1][c]
          guard let item = nextRight[r][c] else { continue }
          nextDown[r][c] +=
            activations[item.token][inputs.lowerBound + r]
            * digit(weights[outputs.lowerBound + c][inputs.lowerBound + r], item.digit)
        }
      }
      (right, down) = (nextRight, nextDown)
      for c in 0..<columns {
        guard let item = right[rows - 1][c] else { continue }
        parts[item.token, default: [:]][c, default: 0] += down[rows - 1][c]
        lastWork = cycle
        if item.digit == digits - 1 {
          sums.append(
            Sum(
              token: item.token, output: outputs.lowerBound + c,
              value: parts[item.token]?[c] ?? 0, arrival: cycle))
        }
      }
      cycle += 1
    }
    return (sums, lastWork + 1)
  }

  /// The cycle after the last scaling, with a queue at every unit.
  private func scaled(_ sums: [Sum], _ outputs: Range<Int>) -> Int {
    // Columns of the whole grid are dealt to the units in runs.
    let share = (gridColumns + array.scaleUnits - 1) / array.scaleUnits
    var waiting = [Int](repeating: 0, count: array.scaleUnits)
    var byArrival: [Int: [Sum]] = [:]
    for sum in sums { byArrival[sum.arrival, default: []].append(sum) }
    var (cycle, left) = (0, sums.count)
    while left > 0 {
      for unit in waiting.indices where waiting[unit] > 0 {
        waiting[unit] -= 1
        left -= 1
      }
      for sum in byArrival[cycle] ?? [] { waiting[(sum.output - outputs.lowerBound) / share] += 1 }
      cycle += 1
    }
    return cycle
  }

  // MARK: - The whole product

  /// Cycles, cycles of work, and bits moved under one tiling; checks the product as well.
  func run(_ tiling: SystolicTiling) -> (cycles: Int, compute: Int, memoryBits: Int) {
    var outputs = [[Int]](
      repeating: Array(repeating: 0, count: product.outputFeatures), count: product.tokens)
    var jobs: [(load: Int, compute: Int, store: Int)] = []
    let holdsActivations =
      product.tokens.clamped(to: tiling.tokens) * product.inputFeatures * storedActivationBits
      <= array.activationBufferBytes * 8 / 2
    var (weightsThere, activationsThere) = ("", "")
    func visit(_ t: Range<Int>, _ o: Range<Int>) {
      for k in ranges(0..<product.inputFeatures, tiling.inputFeatures) {
        var load = 0
        if weightsThere != "\(o) \(k)" {
          weightsThere = "\(o) \(k)"
          var groups = 0
          for start in stride(from: 0, to: k.count, by: product.groupSize) where start < k.count {
            groups += 1
          }
          load += o.count * (k.count * storedWeightBits + groups * product.scaleBits)
        }
        let wanted = holdsActivations ? "\(t)" : "\(t) \(k)"
        if activationsThere != wanted {
          activationsThere = wanted
          load +=
            t.count * (holdsActivations ? product.inputFeatures : k.count) * storedActivationBits
        }
        var compute = 0
        for columns in ranges(o, gridColumns) {
          switch array.dataflow {
          case .outputStationary:
            for rows in ranges(t, gridRows) {
              compute += tile(tokens: rows, outputs: columns, inputs: k, into: &outputs)
            }
          case .weightStationary:
            for group in ranges(k, run) {
              for rows in ranges(group, gridRows) {
                compute += tile(tokens: t, outputs: columns, inputs: rows, into: &outputs)
              }
            }
          }
        }
        let isLast = k.upperBound == product.inputFeatures
        jobs.append((load, compute, isLast ? t.count * o.count * array.outputBits : 0))
      }
    }
    if tiling.order == .weightsOuter {
      for o in ranges(0..<product.outputFeatures, tiling.outputFeatures) {
        for t in ranges(0..<product.tokens, tiling.tokens) { visit(t, o) }
      }
    } else {
      for t in ranges(0..<product.tokens, tiling.tokens) {
        for o in ranges(0..<product.outputFeatures, tiling.outputFeatures) { visit(t, o) }
      }
    }
    for (token, row) in outputs.enumerated() {
      for (output, value) in row.enumerated() {
        let expected = zip(activations[token], weights[output]).reduce(0) { $0 + $1.0 * $1.1 }
        precondition(value == expected, "the array does not multiply")
      }
    }
    return (
      clocked(jobs), jobs.reduce(0) { $0 + $1.compute },
      jobs.reduce(0) { $0 + $1.load + $1.store }
    )
  }

  /// Grid and DRAM side by side: a job is computed while the next is loaded and the last is stored.
  private func clocked(_ jobs: [(load: Int, compute: Int, store: Int)]) -> Int {
    var cycles = 0
    for slot in -1...jobs.count {
      var working = jobs.indices.contains(slot) ? jobs[slot].compute : 0
      var moving = 0
      if jobs.indices.contains(slot + 1) { moving += jobs[slot + 1].load }
      if jobs.indices.contains(slot - 1) { moving += jobs[slot - 1].store }
      while working > 0 || moving > 0 {
        working -= 1
        moving -= array.memoryBitsPerCycle
        cycles += 1
      }
    }
    return cycles
  }

  private var storedWeightBits: Int {
    product.weightBits == 12 && product.scaleBits == 0 ? 16 : product.weightBits
  }
  private var storedActivationBits: Int {
    product.activationBits == 12 ? 16 : product.activationBits
  }

  private func ranges(_ whole: Range<Int>, _ size: Int) -> [Range<Int>] {
    stride(from: whole.lowerBound, to: whole.upperBound, by: size).map {
      $0..<min($0 + size, whole.upperBound)
    }
  }
}

extension Int {
  fileprivate func clamped(to highest: Int) -> Int { self < highest ? self : highest }
}
