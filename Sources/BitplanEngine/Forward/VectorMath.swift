import BitplanKernels

/// Address of floats in row-major memory.
typealias Floats = UnsafeMutablePointer<Float>

/// Eight floats: as wide as the baseline instruction set keeps in registers without spilling.
package typealias Lanes = SIMD8<Float>

/// Element-wise and row-wise arithmetic of the forward and backward passes.
///
/// Every function walks its row in the same order whatever the thread count, so results depend on
/// the values alone. Tails go through the same arithmetic as whole vectors, so an element's result
/// does not depend on its place in a row.
package enum VectorMath {
  /// 1.5 · 2²³: adding it to a float of magnitude below 2²² leaves the nearest integer in the low
  /// mantissa bits.
  private static let roundingConstant: Float = 12_582_912

  /// Eight floats from an address of any alignment.
  @inline(__always)
  static func load(_ address: UnsafePointer<Float>, _ index: Int) -> Lanes {
    UnsafeRawPointer(address + index).loadUnaligned(as: Lanes.self)
  }

  /// Eight floats from an address of any alignment.
  @inline(__always)
  static func load(_ address: Floats, _ index: Int) -> Lanes {
    UnsafeRawPointer(address + index).loadUnaligned(as: Lanes.self)
  }

  /// Stores eight floats at an address of any alignment.
  @inline(__always)
  static func store(_ lanes: Lanes, _ address: Floats, _ index: Int) {
    UnsafeMutableRawPointer(address + index).storeBytes(of: lanes, as: Lanes.self)
  }

  /// The last `count` < 8 floats, filled up with `filler`.
  @inline(__always)
  static func loadTail(
    _ address: UnsafePointer<Float>, _ index: Int, _ count: Int, filler: Float = 0
  ) -> Lanes {
    var lanes = Lanes(repeating: filler)
    for lane in 0..<count { lanes[lane] = address[index + lane] }
    return lanes
  }

  /// Stores the first `count` < 8 lanes.
  @inline(__always)
  static func storeTail(_ lanes: Lanes, _ address: Floats, _ index: Int, _ count: Int) {
    for lane in 0..<count { address[index + lane] = lanes[lane] }
  }

  /// `e^x` within 2 units in the last place for x in −87.3 … 88.3; clamped outside; NaN stays NaN.
  ///
  /// Range reduction by ln 2 in two parts and the degree-6 polynomial of Cephes' `expf`
  /// (S. L. Moshier, Methods and Programs for Mathematical Functions, 1989).
  @inline(__always)
  package static func exp(_ value: Lanes) -> Lanes {
    var x = value
    x.replace(with: Lanes(repeating: 88.3), where: x .> 88.3)
    x.replace(with: Lanes(repeating: -87.3), where: x .< -87.3)
    let shifted = x * 1.442_695_04 + roundingConstant
    let whole = shifted - roundingConstant
    let r = (x - whole * 0.693_359_375) - whole * -2.121_944_4e-4
    var p = r * 1.987_569_1e-4 + 1.398_199_9e-3
    p = p * r + 8.333_452e-3
    p = p * r + 4.166_579_6e-2
    p = p * r + 1.666_666_5e-1
    p = p * r + 5.000_000_1e-1
    let mantissa = (p * r) * r + r + 1
    let bits = unsafeBitCast(shifted, to: SIMD8<Int32>.self)
    let exponent =
      (bits &- Int32(bitPattern: roundingConstant.bitPattern) &+ 127)
      &<< SIMD8<Int32>(repeating: 23)
    return mantissa * unsafeBitCast(exponent, to: Lanes.self)
  }

  /// `1 / (1 + e^−x)`.
  @inline(__always)
  static func sigmoid(_ x: Lanes) -> Lanes { 1 / (1 + exp(-x)) }

  /// `Φ(x)`, the normal distribution function, within 1.5·10⁻⁷ (absolute).
  ///
  /// `½(1 + erf(x/√2))` with equation 7.1.26 of Abramowitz and Stegun, Handbook of Mathematical
  /// Functions, 1964.
  @inline(__always)
  package static func normalDistribution(_ x: Lanes) -> Lanes {
    var magnitude = x
    magnitude.replace(with: -x, where: x .< 0)
    let z = magnitude * 0.707_106_78
    let t = 1 / (1 + z * 0.327_591_1)
    var p = t * 1.061_405_4 - 1.453_152
    p = p * t + 1.421_413_7
    p = p * t - 0.284_496_74
    p = p * t + 0.254_829_59
    let upperTail = (p * t) * exp(-(z * z)) * 0.5
    var result = 1 - upperTail
    result.replace(with: upperTail, where: x .< 0)
    return result
  }

  /// Calls `body` for every whole vector (`count` 8) and the tail (`count` < 8) of `0..<count`.
  @inline(__always)
  static func forEachVector(_ count: Int, _ body: (_ index: Int, _ lanes: Int) -> Void) {
    var index = 0
    while index + 8 <= count {
      body(index, 8)
      index += 8
    }
    if index < count { body(index, count - index) }
  }

  /// `Σ a·b`.
  @inline(__always)
  static func dot(_ a: UnsafePointer<Float>, _ b: UnsafePointer<Float>, _ count: Int) -> Float {
    var first = Lanes(repeating: 0)
    var second = Lanes(repeating: 0)
    var index = 0
    while index + 16 <= count {
      first += load(a, index) * load(b, index)
      second += load(a, index + 8) * load(b, index + 8)
      index += 16
    }
    if index + 8 <= count {
      first += load(a, index) * load(b, index)
      index += 8
    }
    var total = horizontalSum(first + second)
    while index < count {
      total += a[index] * b[index]
      index += 1
    }
    return total
  }

  /// The eight lanes added in a fixed order.
  @inline(__always)
  static func horizontalSum(_ lanes: Lanes) -> Float {
    let four = lanes.lowHalf + lanes.highHalf
    let two = four.lowHalf + four.highHalf
    return two.x + two.y
  }

  /// `y += x`.
  @inline(__always)
  static func add(_ x: UnsafePointer<Float>, to y: Floats, _ count: Int) {
    var index = 0
    while index + 8 <= count {
      store(load(y, index) + load(x, index), y, index)
      index += 8
    }
    while index < count {
      y[index] += x[index]
      index += 1
    }
  }

  /// `out = a + b`.
  @inline(__always)
  static func add(
    _ a: UnsafePointer<Float>, _ b: UnsafePointer<Float>, into out: Floats, _ count: Int
  ) {
    var index = 0
    while index + 8 <= count {
      store(load(a, index) + load(b, index), out, index)
      index += 8
    }
    while index < count {
      out[index] = a[index] + b[index]
      index += 1
    }
  }

  /// `y += a·x`.
  @inline(__always)
  static func add(_ a: Float, times x: UnsafePointer<Float>, to y: Floats, _ count: Int) {
    var index = 0
    while index + 8 <= count {
      store(load(y, index) + load(x, index) * a, y, index)
      index += 8
    }
    while index < count {
      y[index] += a * x[index]
      index += 1
    }
  }

  /// `x *= a`.
  @inline(__always)
  static func scale(_ x: Floats, by a: Float, _ count: Int) {
    var index = 0
    while index + 8 <= count {
      store(load(x, index) * a, x, index)
      index += 8
    }
    while index < count {
      x[index] *= a
      index += 1
    }
  }

  /// `x *= a`, element by element.
  @inline(__always)
  static func multiply(_ x: Floats, by a: UnsafePointer<Float>, _ count: Int) {
    var index = 0
    while index + 8 <= count {
      store(load(x, index) * load(a, index), x, index)
      index += 8
    }
    while index < count {
      x[index] *= a[index]
      index += 1
    }
  }

  /// The largest value; `-∞` for none. A NaN may be passed over.
  @inline(__always)
  static func maximum(_ x: UnsafePointer<Float>, _ count: Int) -> Float {
    var lanes = Lanes(repeating: -.infinity)
    var index = 0
    while index + 8 <= count {
      let next = load(x, index)
      lanes.replace(with: next, where: next .> lanes)
      index += 8
    }
    var result = -Float.infinity
    for lane in 0..<8 where lanes[lane] > result { result = lanes[lane] }
    while index < count {
      if x[index] > result { result = x[index] }
      index += 1
    }
    return result
  }

  /// Whether every value is finite.
  static func allFinite(_ x: UnsafePointer<Float>, _ count: Int) -> Bool {
    // ∞ − ∞ and NaN − NaN are NaN, and a sum keeps a NaN.
    var lanes = Lanes(repeating: 0)
    var index = 0
    while index + 8 <= count {
      let next = load(x, index)
      lanes += next - next
      index += 8
    }
    var result = horizontalSum(lanes)
    while index < count {
      result += x[index] - x[index]
      index += 1
    }
    return result == 0
  }
}
