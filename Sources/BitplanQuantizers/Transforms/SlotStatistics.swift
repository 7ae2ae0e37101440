public import BitplanKernels

/// How large the features of a slot get, and the weights that read them: what scaling rules need.
public struct SlotStatistics: Sendable {
  /// Mean magnitude over the samples of every factor's features.
  public let mean: [Float]
  /// Largest magnitude over the samples of every factor's features.
  public let maximum: [Float]
  /// Largest magnitude of the weights that read every factor's features; empty where none do.
  public let weightMaximum: [Float]

  /// Makes statistics from values, one for every factor.
  public init(mean: [Float], maximum: [Float], weightMaximum: [Float]) {
    self.mean = mean
    self.maximum = maximum
    self.weightMaximum = weightMaximum
  }

  /// Statistics of sampled features.
  ///
  /// - Parameters:
  ///   - samples: `[samples, features]`.
  ///   - factorOfFeature: the factor of every feature, below `factorCount`; features that share one
  ///     are averaged, or the largest of them counts.
  ///   - readers: weights `[outputFeatures, features]` that read the features.
  public init(
    samples: FloatMatrix, factorOfFeature: [Int], factorCount: Int, readers: [FloatMatrix]
  ) {
    precondition(samples.columns == factorOfFeature.count, "samples are this slot's features")
    var sums = [Double](repeating: 0, count: factorCount)
    var largest = [Float](repeating: 0, count: factorCount)
    var counts = [Int](repeating: 0, count: factorCount)
    samples.withUnsafeBufferPointer { x in
      for row in 0..<samples.rows {
        for (feature, factor) in factorOfFeature.enumerated() {
          let magnitude = abs(x[row * samples.columns + feature])
          sums[factor] += Double(magnitude)
          counts[factor] += 1
          largest[factor] = max(largest[factor], magnitude)
        }
      }
    }
    var weightMaximum = [Float](repeating: 0, count: readers.isEmpty ? 0 : factorCount)
    for reader in readers {
      precondition(reader.columns == factorOfFeature.count, "readers read this slot's features")
      reader.withUnsafeBufferPointer { w in
        for row in 0..<reader.rows {
          for (feature, factor) in factorOfFeature.enumerated() {
            weightMaximum[factor] = max(
              weightMaximum[factor], abs(w[row * reader.columns + feature]))
          }
        }
      }
    }
    self.init(
      mean: zip(sums, counts).map { Float($0 / Double(max(1, $1))) }, maximum: largest,
      weightMaximum: weightMaximum)
  }
}
