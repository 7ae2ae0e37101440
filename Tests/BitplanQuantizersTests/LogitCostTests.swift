import BitplanCore
import BitplanKernels
import BitplanQuantizers
import Foundation
import Testing

struct LogitCostTests {
  private static func logits(_ w: FloatMatrix, _ x: FloatMatrix, _ sample: Int) -> [Double] {
    (0..<w.rows).map { row in
      (0..<w.columns).reduce(0) { $0 + Double(w[row, $1]) * Double(x[sample, $1]) }
    }
  }

  private static func logSoftmax(_ logits: [Double]) -> [Double] {
    let total = log(logits.reduce(0) { $0 + exp($1) })
    return logits.map { $0 - total }
  }

  @Test("costs are what their definition says, and bound the KL divergence")
  func agreesWithDefinition() {
    let head = RoundToNearestTests.random(50, 24, seed: 21)
    let moved = FloatMatrix(
      rows: 50, columns: 24,
      values: zip(head.values, RoundToNearestTests.random(50, 24, seed: 22).values).map {
        20 * $0 + 4 * $1
      })
    let scaled = FloatMatrix(rows: 50, columns: 24, values: head.values.map { 20 * $0 })
    let samples = FloatMatrix(
      rows: 70, columns: 24,
      values: RoundToNearestTests.random(70, 24, seed: 23).values.map { 10 * $0 })
    let costs = OutputError.logitCosts(
      original: scaled, quantized: moved, samples: samples, pool: ErrorFeedbackTests.pool)
    var expected = [Double](repeating: 0, count: 50)
    var divergence = 0.0
    for sample in 0..<70 {
      let (a, b) = (Self.logits(scaled, samples, sample), Self.logits(moved, samples, sample))
      let (p, q) = (Self.logSoftmax(a), Self.logSoftmax(b))
      for row in 0..<50 {
        let d = b[row] - a[row]
        expected[row] += exp(p[row]) * (exp(d) - 1 - d) / 70
        divergence += exp(p[row]) * (p[row] - q[row]) / 70
      }
    }
    for row in 0..<50 {
      #expect(abs(costs[row].expected - expected[row]) <= 1e-3 * expected[row] + 1e-9)
      #expect(costs[row].unconditional >= costs[row].expected)
    }
    let bound = costs.reduce(0) { $0 + $1.expected }
    #expect(bound >= divergence)
    #expect(bound <= 2 * divergence, "the bound is useless: \(bound) for \(divergence)")
  }

  @Test("no change costs nothing")
  func nothing() {
    let head = RoundToNearestTests.random(20, 8, seed: 24)
    let samples = RoundToNearestTests.random(5, 8, seed: 25)
    let costs = OutputError.logitCosts(
      original: head, quantized: head, samples: samples, pool: ErrorFeedbackTests.pool)
    #expect(costs.allSatisfy { $0.expected == 0 && $0.unconditional == 0 })
  }
}
