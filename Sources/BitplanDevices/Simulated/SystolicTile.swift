/// Cycles of one tile that fills the grid once: fill, work, drain, and waiting for the scale units.
///
/// Operands enter skewed, one element further a cycle, so element (row, column) works `row + column`
/// cycles later than element (0, 0): filling and draining the wavefront costs the sum of the tile's
/// sides, less 2. Groups' sums queue at the scale units, each of which serves a run of neighbouring
/// columns and does one scaling a cycle. All formulas are exact for that machine; a cycle-by-cycle
/// simulation of it stands in the tests.
struct SystolicTile {
  /// Tokens and output features that the grid holds at once, after the precision rules.
  let rows: Int
  let columns: Int
  /// Cycles that an element spends on one product.
  let passes: Int
  /// Input features after which a sum leaves its element.
  let run: Int
  let dataflow: SystolicArray.Dataflow
  let dequantization: SystolicArray.Dequantization?
  let scaleUnits: Int

  init(_ array: SystolicArray, _ product: SystolicProduct) {
    func factor(_ bits: Int, _ widest: Int, _ smallest: Int) -> Int {
      bits >= widest ? 1 : widest / max(bits, smallest)
    }
    rows =
      array.rows
      * factor(product.activationBits, array.activationBits, array.smallestActivationBits)
    columns =
      array.columns * factor(product.weightBits, array.weightBits, array.smallestWeightBits)
    passes =
      product.weightBits.dividedUp(by: array.weightBits)
      * product.activationBits.dividedUp(by: array.activationBits)
    dataflow = array.dataflow
    dequantization = product.scaleBits > 0 ? array.dequantization : nil
    scaleUnits = array.scaleUnits
    // A sum of 2ⁿ products of w-bit and a-bit integers needs w + a + n bits.
    let spare = array.accumulatorBits.map { $0 - product.weightBits - product.activationBits }
    let longest = spare.map { 1 << $0.clamped(0, 30) } ?? product.inputFeatures
    run = min(
      longest, dequantization == .afterGroup ? product.groupSize : product.inputFeatures)
  }

  /// Whether sums pass through the scale units on their way out.
  private var scalesSums: Bool { dequantization == .afterGroup }

  /// Columns that one scale unit serves.
  private var share: Int { columns.dividedUp(by: scaleUnits) }

  /// Cycles of one tile of at most ``rows`` × ``columns`` (output-stationary), or of at most
  /// ``rows`` input features × ``columns`` (weight-stationary).
  func cycles(tokens: Int, outputFeatures: Int, inputFeatures: Int) -> Int {
    switch dataflow {
    case .outputStationary:
      outputStationary(rows: tokens, columns: outputFeatures, inputFeatures: inputFeatures)
    case .weightStationary:
      weightStationary(rows: inputFeatures, columns: outputFeatures, tokens: tokens)
    }
  }

  private func outputStationary(rows r: Int, columns c: Int, inputFeatures k: Int) -> Int {
    guard let dequantization else { return k * passes + r + c - 2 }
    switch dequantization {
    case .beforeProduct:
      return lastEntry(columns: c, inputFeatures: k, interval: passes) + passes + r + c - 2
    case .afterGroup:
      let groups = k.dividedUp(by: run)
      return lastFinish(columns: c) { width in
        // The queue last was empty when some group began to arrive; from there on the unit never
        // rests. The time is linear between the first group and the last but one.
        var latest = k * passes - 1 + r * width
        for group in Set([0, max(0, groups - 2)]) where group < groups - 1 {
          latest = max(latest, (group + 1) * run * passes - 1 + (groups - group) * r * width)
        }
        return latest
      }
    }
  }

  private func weightStationary(rows r: Int, columns c: Int, tokens b: Int) -> Int {
    let reload =
      dequantization == .beforeProduct
      ? lastEntry(columns: c, inputFeatures: r, interval: 1) + 1 : r
    guard scalesSums else { return reload + b * passes + r + c - 2 }
    return lastFinish(columns: c) { width in
      reload + passes - 1 + r - 1 + max((b - 1) * passes + width, b * width)
    }
  }

  /// The cycle in which the last input feature's weights enter, where all are dequantized first.
  private func lastEntry(columns c: Int, inputFeatures k: Int, interval: Int) -> Int {
    max(c.dividedUp(by: scaleUnits) + (k - 1) * interval, (k * c).dividedUp(by: scaleUnits))
  }

  /// Cycles until every unit is done. `finish` tells, for a unit with that many columns of which the
  /// first is column 0, the cycle of its last scaling.
  private func lastFinish(columns c: Int, _ finish: (_ width: Int) -> Int) -> Int {
    let full = c / share
    var latest = 0
    if full > 0 { latest = (full - 1) * share + finish(share) }
    if c % share > 0 { latest = max(latest, full * share + finish(c % share)) }
    return latest + 1
  }

  /// Scalings of a whole product.
  func scalings(_ product: SystolicProduct, _ tiling: SystolicTiling) -> Int {
    switch dequantization {
    case nil: return 0
    case .beforeProduct:
      let repeats = product.tokens.dividedUp(
        by: dataflow == .outputStationary ? rows : tiling.tokens)
      return product.outputFeatures * product.inputFeatures * repeats
    case .afterGroup:
      let height = dataflow == .outputStationary ? run : min(run, rows)
      return product.tokens * product.outputFeatures
        * cut(product.inputFeatures, tiling.inputFeatures).reduce(0) {
          $0 + $1.count * pieces($1.size, height).reduce(0) { $0 + $1.count }
        }
    }
  }

  /// Input features of one chunk cut into sums: whole runs, each cut to the height.
  func pieces(_ inputFeatures: Int, _ height: Int) -> [(size: Int, count: Int)] {
    var pieces: [(size: Int, count: Int)] = []
    for (size, count) in [(run, inputFeatures / run), (inputFeatures % run, 1)]
    where size > 0 && count > 0 {
      if size / height > 0 { pieces.append((height, count * (size / height))) }
      if size % height > 0 { pieces.append((size % height, count)) }
    }
    return pieces
  }
}
