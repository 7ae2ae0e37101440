import BitplanCore
import BitplanEngine
import BitplanKernels
import BitplanQuantizers
import BitplanSensitivity
import Testing

/// Kronecker products found from samples: they turn inputs towards their principal axes and spread
/// what lies along them.
struct KroneckerRotationTests {
  static let pool = ThreadPool(threadCount: 2)

  /// Samples `A · Z · B` of random `Z`, whose energy lies in a few directions, and one huge feature.
  static func samples(_ slow: Int, _ fast: Int, count: Int = 200) -> FloatMatrix {
    var generator = SeededGenerator(state: 12)
    let result = FloatMatrix(rows: count, columns: slow * fast)
    for sample in 0..<count {
      for row in 0..<slow {
        for column in 0..<fast {
          let scale: Float = 1 / Float((1 + row) * (1 + column))
          result[sample, row * fast + column] =
            scale * Float.random(in: -1...1, using: &generator)
        }
      }
      result[sample, 5] *= 30
    }
    return result
  }

  static func energies(_ x: FloatMatrix) -> [Double] {
    (0..<x.columns).map { column in
      (0..<x.rows).reduce(0) { $0 + Double(x[$1, column]) * Double(x[$1, column]) }
    }
  }

  @Test("axes are orthonormal eigenvectors of the partial traces, the largest first")
  func axes() {
    let (slow, fast) = (4, 6)
    let x = Self.samples(slow, fast)
    let axes = PrincipalAxes.ofMatrices(x, slow: slow)
    /// `axesᵀ · moments · axes`.
    func turned(_ axes: FloatMatrix, _ moment: (Int, Int) -> Double) -> [[Double]] {
      let n = axes.rows
      return (0..<n).map { a in
        (0..<n).map { b in
          var sum = 0.0
          for i in 0..<n {
            for j in 0..<n { sum += Double(axes[i, a]) * moment(i, j) * Double(axes[j, b]) }
          }
          return sum
        }
      }
    }
    func at(_ s: Int, _ i: Int, _ j: Int) -> Double { Double(x[s, i * fast + j]) }
    let ofSlow = turned(axes.slow) { a, b in
      (0..<x.rows).reduce(0) { sum, s in
        sum + (0..<fast).reduce(0) { $0 + at(s, a, $1) * at(s, b, $1) }
      }
    }
    let ofFast = turned(axes.fast) { a, b in
      (0..<x.rows).reduce(0) { sum, s in
        sum + (0..<slow).reduce(0) { $0 + at(s, $1, a) * at(s, $1, b) }
      }
    }
    for result in [ofSlow, ofFast] {
      for (a, row) in result.enumerated() {
        for (b, value) in row.enumerated() where a != b {
          #expect(abs(value) < 1e-5 * result[0][0])
        }
        #expect(a == 0 || row[a] <= result[a - 1][a - 1] * (1 + 1e-6))
      }
    }
  }

  @Test("energy is spread over features, and the same samples give the same matrices")
  func spreads() throws {
    let (slow, fast) = (8, 16)
    let x = Self.samples(slow, fast)
    let rotation = Rotation.spreading(x, slow: slow, seed: 3, Self.pool)
    let turned = rotation.turningRows(of: x, Self.pool)
    let (before, after) = (Self.energies(x), Self.energies(turned))
    let total = before.reduce(0, +)
    #expect(abs(after.reduce(0, +) / total - 1) < 1e-5)
    let mean = total / Double(slow * fast)
    let (most, mostBefore) = (try #require(after.max()), try #require(before.max()))
    #expect(mostBefore > 20 * mean)
    // Sizes that are powers of two get a Hadamard matrix, whose entries have one magnitude: every
    // row and every column of a token's matrix then has its even share of the energy.
    for row in 0..<slow {
      let share = after[row * fast..<(row + 1) * fast].reduce(0, +)
      #expect(abs(share / (total / Double(slow)) - 1) < 1e-3)
    }
    for column in 0..<fast {
      let share = (0..<slow).reduce(0) { $0 + after[$1 * fast + column] }
      #expect(abs(share / (total / Double(fast)) - 1) < 1e-3)
    }
    #expect(most < mostBefore / 4)
    let again = try #require(Rotation.spreading(x, slow: slow, seed: 3, Self.pool).matrices)
    let other = try #require(Rotation.spreading(x, slow: slow, seed: 4, Self.pool).matrices)
    let first = try #require(rotation.matrices)
    #expect(again.slow.values == first.slow.values && again.fast.values == first.fast.values)
    #expect(other.slow.values != first.slow.values)
  }
}
