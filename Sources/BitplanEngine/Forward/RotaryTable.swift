import BitplanKernels
import Foundation

/// Rotary position embedding (Su et al. 2021, arXiv:2104.09864), rotate-half order.
///
/// Feature `i` of a head's first half and feature `i` of its second half form the pair that is
/// turned by `position · theta^(−2i/headSize)`.
struct RotaryTable: Sendable {
  /// `[positions, headSize / 2]`.
  let cosines: FloatMatrix
  /// `[positions, headSize / 2]`.
  let sines: FloatMatrix

  /// Angles of positions `0..<positions`, their frequencies rounded to float32 as transformers
  /// rounds them.
  init(positions: Int, headSize: Int, theta: Double) {
    let half = headSize / 2
    cosines = FloatMatrix(rows: positions, columns: half)
    sines = FloatMatrix(rows: positions, columns: half)
    let frequencies = (0..<half).map { index in
      1 / Float(pow(theta, Double(Float(2 * index) / Float(headSize))))
    }
    withAddresses(cosines, sines) { cosines, sines in
      for position in 0..<positions {
        for index in 0..<half {
          let angle = Double(Float(position) * frequencies[index])
          cosines[position * half + index] = Float(cos(angle))
          sines[position * half + index] = Float(sin(angle))
        }
      }
    }
  }

  /// Turns one head in place by the angles of one position; `inverse` turns it back.
  @inline(__always)
  static func rotate(
    _ head: Floats, into out: Floats, cosines: UnsafePointer<Float>, sines: UnsafePointer<Float>,
    half: Int, inverse: Bool = false
  ) {
    let sign: Float = inverse ? -1 : 1
    VectorMath.forEachVector(half) { index, lanes in
      if lanes == 8 {
        let (first, second) = (VectorMath.load(head, index), VectorMath.load(head, half + index))
        let cosine = VectorMath.load(cosines, index)
        let sine = VectorMath.load(sines, index) * sign
        VectorMath.store(first * cosine - second * sine, out, index)
        VectorMath.store(second * cosine + first * sine, out, half + index)
      } else {
        for tail in index..<index + lanes {
          let (first, second) = (head[tail], head[half + tail])
          let sine = sines[tail] * sign
          out[tail] = first * cosines[tail] - second * sine
          out[half + tail] = second * cosines[tail] + first * sine
        }
      }
    }
  }
}
