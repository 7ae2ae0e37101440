public import BitplanCore
public import BitplanKernels

/// `W ≈ S ⊙ (h·gᵀ)`: one sign a weight, a factor for every output feature and one for every input
/// feature (OneBit, Xu et al. 2024, arXiv:2402.11295).
///
/// The factors are those that OneBit's training starts from: signs are the weights', `h·gᵀ` the best
/// approximation of rank one to their magnitudes. Training them, and the normalisation that OneBit
/// puts after every operator, are not part of this.
public struct SignFactors: Sendable {
  /// `[outputFeatures, inputFeatures]` of the operator.
  public let shape: MatrixShape
  /// 1 where the weight is not negative, else 0; `[outputFeatures · inputFeatures]`.
  public let codes: [UInt8]
  /// `h`, `[outputFeatures]`, values of binary16.
  public let outputFactors: [Float]
  /// `g`, `[inputFeatures]`, values of binary16; their mean is 1.
  public let inputFactors: [Float]

  private static let iterations = 30

  /// Decomposes weights `[outputFeatures, inputFeatures]`, finite.
  ///
  /// - Complexity: O(weights) for each of 30 power iterations.
  public init(_ weights: FloatMatrix) {
    let (rows, columns) = (weights.rows, weights.columns)
    shape = MatrixShape(outputFeatures: rows, inputFeatures: columns)
    let values = weights.values
    codes = values.map { $0 < 0 ? 0 : 1 }
    // Magnitudes are not negative, so their leading singular vectors are not either.
    var (h, g) = ([Double](repeating: 0, count: rows), [Double](repeating: 1, count: columns))
    for _ in 0..<Self.iterations {
      let squares = g.reduce(0) { $0 + $1 * $1 }
      for row in 0..<rows {
        var sum = 0.0
        for column in 0..<columns {
          sum += Double(abs(values[row * columns + column])) * g[column]
        }
        h[row] = sum / max(squares, .leastNormalMagnitude)
      }
      var next = [Double](repeating: 0, count: columns)
      for row in 0..<rows {
        for column in 0..<columns {
          next[column] += Double(abs(values[row * columns + column])) * h[row]
        }
      }
      let mean = next.reduce(0, +) / Double(max(1, columns))
      guard mean > 0 else { break }
      g = next.map { $0 / mean }
    }
    // The output factors that suit the input factors as they are stored.
    let stored = g.map { Float(Float16($0)) }
    let squares = stored.reduce(0.0) { $0 + Double($1) * Double($1) }
    outputFactors = (0..<rows).map { row in
      var sum = 0.0
      for column in 0..<columns {
        sum += Double(abs(values[row * columns + column])) * Double(stored[column])
      }
      return Float(Float16(min(sum / max(squares, .leastNormalMagnitude), 65_504)))
    }
    inputFactors = stored
  }

  /// Bytes: whole bytes of signs a row, and both factors in binary16.
  public var storedBytes: Int {
    shape.outputFeatures * ((shape.inputFeatures + 7) / 8)
      + 2 * (shape.outputFeatures + shape.inputFeatures)
  }

  /// `S ⊙ (h·gᵀ)`, `[outputFeatures, inputFeatures]`.
  public var product: FloatMatrix {
    let columns = shape.inputFeatures
    return FloatMatrix(
      rows: shape.outputFeatures, columns: columns,
      values: codes.indices.map { index in
        let factor = outputFactors[index / columns]
        return (codes[index] == 1 ? factor : -factor) * inputFactors[index % columns]
      })
  }

  /// `S ⊙ h` in `bcq1_g128`, whose groups then all have their row's factor and no offset: what the
  /// kernels multiply with where a norm or the operator before takes the input factors.
  public func withoutInputFactors() -> QuantizedWeights? {
    guard let format = WeightFormat(identifier: "bcq1_g128") else { return nil }
    let groups = PackedLayout(format, shape).groupCount
    return QuantizedWeights(
      format: format, shape: shape,
      payload: .binary(
        codes: codes,
        scales: outputFactors.flatMap {
          [UInt16](repeating: Float16($0).bitPattern, count: groups)
        },
        offsets: [UInt16](repeating: 0, count: shape.outputFeatures * groups), planeWeights: []))
  }
}
