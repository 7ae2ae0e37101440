import BitplanKernels
import Foundation

/// Softmax arithmetic over rows of logits.
///
/// Exponentials are float32; their sums run through float lanes for at most ``blockVectors``
/// vectors before they go into a `Double`, so a sum's relative error stays near 10⁻⁷ whatever the
/// vocabulary.
enum LogitRows {
  /// Vectors of eight that are summed in float before the sum moves to `Double`.
  private static let blockVectors = 32

  /// Calls `term` for every vector of a row and sums what it returns.
  @inline(__always)
  private static func sum(
    _ count: Int, _ term: (_ index: Int, _ lanes: Int) -> Lanes
  ) -> Double {
    var total = 0.0
    var index = 0
    while index + 8 <= count {
      var lanes = Lanes(repeating: 0)
      let end = min(index + blockVectors * 8, count / 8 * 8)
      while index < end {
        lanes += term(index, 8)
        index += 8
      }
      total += Double(VectorMath.horizontalSum(lanes))
    }
    if index < count { total += Double(VectorMath.horizontalSum(term(index, count - index))) }
    return total
  }

  /// `ln Σ e^z`.
  static func logSumExp(_ z: UnsafePointer<Float>, _ count: Int) -> Double {
    let largest = VectorMath.maximum(z, count)
    let total = sum(count) { index, lanes in
      if lanes == 8 { return VectorMath.exp(VectorMath.load(z, index) - largest) }
      var value = VectorMath.exp(VectorMath.loadTail(z, index, lanes) - largest)
      for lane in lanes..<8 { value[lane] = 0 }
      return value
    }
    return Double(largest) + log(total)
  }

  /// `out = z − ln Σ e^z`; in place when both are the same.
  static func logSoftmax(_ z: Floats, into out: Floats, _ count: Int) {
    let shift = Float(logSumExp(z, count))
    VectorMath.forEachVector(count) { index, lanes in
      if lanes == 8 {
        VectorMath.store(VectorMath.load(z, index) - shift, out, index)
      } else {
        for tail in index..<index + lanes { out[tail] = z[tail] - shift }
      }
    }
  }

  /// `Σ p · (ln p − ln q)` in nats, where `reference` is `ln p` and `q = softmax(z)`.
  ///
  /// `ln q` is formed by the very operations of ``logSoftmax(_:into:_:)``, so equal logits give
  /// exactly 0. Rounding can leave a true value below 10⁻⁷ slightly negative; it is cut at 0.
  static func divergence(
    reference: UnsafePointer<Float>, _ z: UnsafePointer<Float>, _ count: Int, logSumExp: Double
  ) -> Double {
    let shift = Float(logSumExp)
    let total = sum(count) { index, lanes in
      if lanes == 8 {
        let p = VectorMath.load(reference, index)
        return VectorMath.exp(p) * (p - (VectorMath.load(z, index) - shift))
      }
      let p = VectorMath.loadTail(reference, index, lanes)
      var value = VectorMath.exp(p) * (p - (VectorMath.loadTail(z, index, lanes) - shift))
      for lane in lanes..<8 { value[lane] = 0 }
      return value
    }
    return max(0, total)
  }

  /// The first index of the largest value.
  static func argmax(_ z: UnsafePointer<Float>, _ count: Int) -> Int {
    let largest = VectorMath.maximum(z, count)
    for index in 0..<count where z[index] == largest { return index }
    return 0
  }
}
