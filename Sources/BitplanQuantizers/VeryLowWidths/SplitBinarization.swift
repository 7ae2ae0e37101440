public import BitplanCore
public import BitplanKernels

/// Two bits a weight as BiLLM finds them (Huang et al. 2024, arXiv:2402.04291), from its equations.
///
/// In blocks of 128 input features, the columns of largest saliency are binarised twice, the second
/// time what the first left over; the other weights once, with one magnitude for those near 0 and
/// one for the rest. Errors of a block are fed forward to the columns after it, as in GPTQ.
///
/// Either way a weight is `±first ± second`: for a salient column the two magnitudes themselves, for
/// the others half the sum and half the difference of theirs. So this is binary coding of two bits
/// without an offset, whose groups are a block's salient columns and the block's other columns.
/// Where no column is salient, the two magnitudes are what binary coding stores: whole multiples of
/// one scale.
public struct SplitBinarization: Sendable {
  /// `[outputFeatures, inputFeatures]` of the operator.
  public let shape: MatrixShape
  /// Two bits a weight: bit 1 is set where `first` is added, bit 0 where `second` is.
  public let codes: [UInt8]
  /// Whether a column is salient, `[inputFeatures]`.
  public let isSalient: [Bool]
  /// Binary16 patterns of `first` and `second` of the salient columns and of `first` and `second` of
  /// the others: `[outputFeatures][blocks][4]`. Without salient columns `[outputFeatures][blocks][2]`:
  /// the binary16 scale, and the multiples of it, `second` in the low byte.
  public let factors: [UInt16]

  /// Input features of a block.
  public static let blockSize = 128
  /// Most salient columns of a block.
  public static let salientLimit = 49

  /// Bytes: whole bytes of codes a row, the factors, and one bit a column that says which are salient.
  public var storedBytes: Int {
    shape.outputFeatures * ((2 * shape.inputFeatures + 7) / 8) + 2 * factors.count
      + (isSalient.contains(true) ? (shape.inputFeatures + 7) / 8 : 0)
  }

  private var blocks: Int { (shape.inputFeatures + Self.blockSize - 1) / Self.blockSize }

  /// Binarises weights.
  ///
  /// - Parameters:
  ///   - weights: `[outputFeatures, inputFeatures]`, finite.
  ///   - curvature: of this operator.
  ///   - salientLimit: 0 leaves salient columns out, and their factors with them.
  public init(
    _ weights: FloatMatrix, curvature: InputCurvature,
    salientLimit: Int = SplitBinarization.salientLimit
  ) {
    precondition(curvature.size == weights.columns)
    let (rows, columns) = (weights.rows, weights.columns)
    shape = MatrixShape(outputFeatures: rows, inputFeatures: columns)
    let inverse = InverseFactor(of: curvature.matrix)
    var rest = weights.values
    var codes = [UInt8](repeating: 0, count: rest.count)
    var isSalient = [Bool](repeating: false, count: columns)
    let blocks = (columns + Self.blockSize - 1) / Self.blockSize
    let perBlock = salientLimit > 0 ? 4 : 2
    var factors = [UInt16](repeating: 0, count: rows * blocks * perBlock)
    for block in 0..<blocks {
      let range = block * Self.blockSize..<min((block + 1) * Self.blockSize, columns)
      let search = SplitSearch(
        rest, columns: columns, range, saliency: { 1 / (inverse[$0, $0] * inverse[$0, $0]) },
        salientLimit: salientLimit)
      for column in search.salient { isSalient[column] = true }
      for row in 0..<rows {
        let values = { (column: Int) in rest[row * columns + column] }
        let plain = search.plainPair(values)
        let pairs =
          salientLimit > 0 ? [search.salientPair(values), plain] : [plain.onPlanes]
        var errors = [Double](repeating: 0, count: range.count)
        for column in range {
          let pair = isSalient[column] ? pairs[pairs.startIndex] : pairs[pairs.endIndex - 1]
          let index = row * columns + column
          let code =
            isSalient[column]
            ? pair.residualCode(rest[index]) : pair.magnitudeCode(rest[index], search.threshold)
          codes[index] = code
          errors[column - range.lowerBound] =
            Double(rest[index] - pair.value(code)) / inverse[column, column]
        }
        for (place, pair) in pairs.enumerated() {
          let at = (row * blocks + block) * perBlock + 2 * place
          (factors[at], factors[at + 1]) = pair.stored
        }
        inverse.feed(errors, from: range, into: &rest, row: row * columns)
      }
    }
    (self.codes, self.isSalient, self.factors) = (codes, isSalient, factors)
  }

  /// The weights that codes stand for, `[outputFeatures, inputFeatures]`.
  public var restored: FloatMatrix {
    let columns = shape.inputFeatures
    let perBlock = factors.count / max(1, shape.outputFeatures * blocks)
    return FloatMatrix(
      rows: shape.outputFeatures, columns: columns,
      values: codes.indices.map { index in
        let (row, column) = (index / columns, index % columns)
        let block = (row * blocks + column / Self.blockSize) * perBlock
        let at = block + (isSalient[column] ? 0 : perBlock - 2)
        let stored = (factors[at], factors[at + 1])
        return (perBlock == 2 ? SignPair(planes: stored) : SignPair(stored)).value(codes[index])
      })
  }

  /// What weights without salient columns are stored in: two bits of binary coding.
  static let format = WeightFormat.all.first { $0.coding == .binary && $0.bitWidth == 2 } ?? .f16

  /// The same weights in `bcq2_g128`, or `nil` where columns are salient: then two sets of
  /// magnitudes alternate within a group, and no group of the format has room for them.
  public func binaryCoded() -> QuantizedWeights? {
    isSalient.contains(true) ? nil : rows([0..<shape.outputFeatures])
  }

  /// Some rows in ``format``, without what is salient.
  func rows(_ rows: [Range<Int>]) -> QuantizedWeights {
    let indices = rows.flatMap { Array($0) }
    let perRow = factors.count / max(1, shape.outputFeatures)
    let perBlock = perRow / max(1, blocks)
    let columns = shape.inputFeatures
    var (codes, scales, planeWeights) = ([UInt8](), [UInt16](), [UInt8]())
    for row in indices {
      codes += self.codes[row * columns..<(row + 1) * columns]
      for block in 0..<blocks {
        let at = row * perRow + block * perBlock
        scales.append(factors[at])
        planeWeights += [UInt8(factors[at + 1] & 255), UInt8(factors[at + 1] >> 8)]
      }
    }
    return QuantizedWeights(
      format: Self.format,
      shape: MatrixShape(outputFeatures: indices.count, inputFeatures: columns),
      payload: .binary(
        codes: codes, scales: scales,
        offsets: [UInt16](repeating: 0, count: indices.count * blocks), planeWeights: planeWeights))
  }
}

/// `±first ± second`.
struct SignPair {
  /// Values of binary16, or multiples of one.
  let first, second: Float
  /// Two numbers of 16 bits that hold both.
  let stored: (UInt16, UInt16)

  /// Rounds both to binary16.
  init(first: Float, second: Float) {
    func stored(_ value: Float) -> Float16 { Float16(min(max(value, -65_504), 65_504)) }
    self.init((stored(first).bitPattern, stored(second).bitPattern))
  }

  /// Takes two binary16 patterns.
  init(_ stored: (UInt16, UInt16)) {
    first = Float(Float16(bitPattern: stored.0))
    second = Float(Float16(bitPattern: stored.1))
    self.stored = stored
  }

  /// Takes a binary16 scale and multiples of it, the second's in the low byte.
  init(planes stored: (UInt16, UInt16)) {
    let scale = Float(Float16(bitPattern: stored.0))
    (first, second) = (scale * Float(stored.1 >> 8), scale * Float(stored.1 & 255))
    self.stored = stored
  }

  /// The nearest pair of multiples of one scale.
  var onPlanes: SignPair {
    let grid = PlaneGrid(magnitudes: [second, first])
    let weights = grid.weights.values.map(UInt16.init)
    return SignPair(planes: (Float16(grid.scale).bitPattern, weights[0] | weights[1] << 8))
  }

  /// The value of a code, computed as `QuantizedWeights.dequantized()` does.
  func value(_ code: UInt8) -> Float {
    let low = code & 1 == 1 ? second : -second
    return code & 2 == 2 ? low + first : low - first
  }

  /// The sign of the weight, then that of what the first magnitude leaves over.
  func residualCode(_ weight: Float) -> UInt8 {
    let left = weight < 0 ? weight + first : weight - first
    return (weight < 0 ? 0 : 2) | (left < 0 ? 0 : 1)
  }

  /// The sign of the weight, and `second` with the same sign where it is beyond the threshold.
  func magnitudeCode(_ weight: Float, _ threshold: Float) -> UInt8 {
    let isLarge = abs(weight) > threshold
    return weight < 0 ? (isLarge ? 0 : 1) : (isLarge ? 3 : 2)
  }
}
