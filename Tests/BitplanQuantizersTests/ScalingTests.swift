import BitplanCore
import BitplanKernels
import BitplanQuantizers
import Foundation
import Testing

/// Scaling rules and the search for the best one.
struct ScalingTests {
  static let int3 = WeightFormat(identifier: "int3_g64")!

  static func matrix(
    _ rows: Int, _ columns: Int, _ generator: inout SeededGenerator,
    columnScale: (Int) -> Float = { _ in 1 }
  ) -> FloatMatrix {
    FloatMatrix(
      rows: rows, columns: columns,
      values: (0..<rows * columns).map { index in
        let normal = (0..<12).reduce(Float(-6)) { sum, _ in
          sum + Float.random(in: 0..<1, using: &generator)
        }
        return normal * columnScale(index % columns)
      })
  }

  @Test("magnitudes of features that share a factor are averaged, or the largest counts")
  func statistics() {
    let samples = FloatMatrix(rows: 2, columns: 4, values: [1, -2, 3, 0, -5, 4, 1, 2])
    let reader = FloatMatrix(rows: 2, columns: 4, values: [1, 2, -7, 0.5, -3, 1, 2, 4])
    let found = SlotStatistics(
      samples: samples, factorOfFeature: [0, 1, 0, 1], factorCount: 2, readers: [reader])
    #expect(found.mean == [2.5, 2])
    #expect(found.maximum == [5, 4])
    #expect(found.weightMaximum == [7, 4])
  }

  @Test("factors are the stated powers, with a geometric mean of 1")
  func factors() {
    let statistics = SlotStatistics(
      mean: [1, 4, 16], maximum: [2, 8, 128], weightMaximum: [1, 0.25, 4])
    func distance(_ rule: ScalingRule, _ expected: [Double]) -> Double {
      zip(rule.factors(statistics), expected).reduce(0) { max($0, abs(Double($1.0) / $1.1 - 1)) }
    }
    #expect(distance(ScalingRule(.mean, inputExponent: 0.5), [0.5, 1, 2]) < 1e-6)
    // max^0.5 / w^0.5: √2, √32, √32, whose geometric mean is 2^(11/6).
    let mean = pow(2, 11.0 / 6)
    let (first, other) = (pow(2, 0.5) / mean, pow(2, 2.5) / mean)
    #expect(distance(.smoothing(0.5), [first, other, other]) < 1e-6)
    #expect(ScalingRule.identity.factors(statistics) == [1, 1, 1])
    #expect(ScalingRule.meanPowers[0].isIdentity && ScalingRule.meanPowers.count == 20)
  }

  @Test("the outlier rule scales what exceeds the feature at the top 0.5 % and nothing else")
  func outliers() {
    var maximum = (0..<400).map { 1 + Float($0) / 400 }
    maximum[7] = 50
    maximum[9] = 20
    let factors = ScalingRule.outliers.factors(
      SlotStatistics(mean: maximum, maximum: maximum, weightMaximum: []))
    // Place Int(0.005 · 400 + 1.5) = 3 of the sorted magnitudes: 50, 20, 1.9975, 1.995.
    let others = factors.enumerated().filter { ![7, 9, 399].contains($0.offset) }.map(\.element)
    #expect(Set(others).count == 1)
    #expect(abs(factors[7] / others[0] - 50 / 1.995) < 1e-3)
    #expect(abs(factors[9] / others[0] - 20 / 1.995) < 1e-3)
  }

  @Test("features that are silent or not read keep a finite, positive factor")
  func silentFeatures() {
    let statistics = SlotStatistics(
      mean: [0, 1, 2], maximum: [0, 3, 4], weightMaximum: [0, 0, 1])
    for rule in ScalingRule.grid {
      let factors = rule.factors(statistics)
      #expect(factors.allSatisfy { $0 > 0 && $0.isFinite && $0 >= 0.999e-3 && $0 <= 1.001e3 })
    }
    let silent = SlotStatistics(mean: [0, 0], maximum: [0, 0], weightMaximum: [0, 0])
    #expect(ScalingRule.grid.allSatisfy { $0.factors(silent).allSatisfy { abs($0 - 1) < 1e-6 } })
  }

  @Test("a score is the importance-weighted output error of the scaled, quantized reader")
  func scoreIsTheError() throws {
    var generator = SeededGenerator(state: 3)
    let weights = Self.matrix(6, 64, &generator)
    let samples = Self.matrix(40, 64, &generator) { $0 % 8 == 0 ? 6 : 1 }
    let importance = (0..<6).map { Double($0 + 1) }
    let rule = ScalingRule(.mean, inputExponent: 0.5)
    let pool = ThreadPool(threadCount: 2)
    let score = ScalingSearch(format: Self.int3, pool: pool).scores(
      [rule], readers: [.init(weights: weights, importance: importance)], samples: samples,
      factorOfInput: Array(0..<64), factorCount: 64)[0]

    let factors = rule.factors(
      SlotStatistics(
        samples: samples, factorOfFeature: Array(0..<64), factorCount: 64, readers: [weights]))
    let scaled = FloatMatrix(
      rows: 6, columns: 64,
      values: weights.values.enumerated().map { $0.element * factors[$0.offset % 64] })
    let squares = (0..<64).map { column in
      (0..<40).reduce(Float(0)) { $0 + samples[$1, column] * samples[$1, column] } / 40
        / (factors[column] * factors[column])
    }
    let restored = RoundToNearest(pool: pool).quantize(
      scaled, as: Self.int3, meanSquaredInput: squares
    ).dequantized()
    var expected = 0.0
    for row in 0..<6 {
      for sample in 0..<40 {
        let error = (0..<64).reduce(0.0) { sum, column in
          let weight = Double(restored[row * 64 + column]) / Double(factors[column])
          return sum + (weight - Double(weights[row, column])) * Double(samples[sample, column])
        }
        expected += importance[row] * error * error / 40
      }
    }
    #expect(abs(score.error / expected - 1) < 1e-3)
  }

  @Test("planted activation outliers are scaled, and the error falls")
  func findsOutliers() {
    var generator = SeededGenerator(state: 5)
    let weights = Self.matrix(48, 128, &generator)
    let samples = Self.matrix(200, 128, &generator) { $0 % 40 == 3 ? 30 : 1 }
    let search = ScalingSearch(format: Self.int3, pool: ThreadPool(threadCount: 2))
    let readers = [
      ScalingSearch.Reader(weights: weights, importance: [Double](repeating: 1, count: 48))
    ]
    let inputs = Array(0..<128)
    let plain = search.scores(
      [.identity], readers: readers, samples: samples, factorOfInput: inputs, factorCount: 128)[0]
    let best = search.best(
      ScalingRule.grid, readers: readers, samples: samples, factorOfInput: inputs, factorCount: 128)
    #expect(!best.rule.isIdentity)
    #expect(best.error < 0.7 * plain.error)
  }

  @Test("without a rule that helps enough, nothing is scaled")
  func keepsIdentity() {
    var generator = SeededGenerator(state: 6)
    let weights = Self.matrix(32, 64, &generator)
    let samples = Self.matrix(100, 64, &generator)
    let search = ScalingSearch(format: Self.int3, pool: ThreadPool(threadCount: 1))
    let best = search.best(
      [.outliers],
      readers: [.init(weights: weights, importance: [Double](repeating: 1, count: 32))],
      samples: samples, factorOfInput: Array(0..<64), factorCount: 64, advantage: 0.2)
    #expect(best.rule == .identity)
  }
}
