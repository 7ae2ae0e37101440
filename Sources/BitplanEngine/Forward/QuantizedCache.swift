import BitplanCore
import BitplanKernels

/// The keys or the values of one layer as 8-bit or 4-bit codes.
///
/// `value ≈ offset + scale · code`, scale and offset of its own for every (head, token). Codes of 4
/// bits: byte `i` holds value `i` in its low half and value `i + headSize/2` in its high half.
///
/// `@unchecked Sendable`: threads store disjoint (head, token) rows between two barriers and only
/// read at other times, as they do with the float cache.
final class QuantizedCache: @unchecked Sendable {
  let format: KeyValueFormat
  let capacity: Int
  let headSize: Int
  private let rowBytes: Int
  private let codes: AlignedBytes
  /// Scale and offset of every row.
  private let grids: AlignedBytes

  /// Room for `capacity` tokens of `headCount` heads.
  init(format: KeyValueFormat, headCount: Int, capacity: Int, headSize: Int) {
    precondition(format != .float && headSize % 2 == 0)
    self.format = format
    self.capacity = capacity
    self.headSize = headSize
    rowBytes = format == .int8 ? headSize : headSize / 2
    codes = AlignedBytes(count: headCount * capacity * rowBytes)
    grids = AlignedBytes(count: headCount * capacity * 2 * MemoryLayout<Float16>.stride)
  }

  /// Quantizes one head of one token, `[headSize]`.
  func store(_ values: Floats, head: Int, position: Int) {
    let row = head * capacity + position
    var (low, high) = (values[0], values[0])
    for index in 1..<headSize {
      low = min(low, values[index])
      high = max(high, values[index])
    }
    let largest = Float(Float16.greatestFiniteMagnitude)
    let offset = Float16(min(max(low, -largest), largest))
    // Rounded up, so that the largest value still has a code; subnormal ranges keep a scale.
    var scale = Float16(
      min(max((high - Float(offset)) / format.maximumCode, 1e-6), largest))
    if Float(offset) + Float(scale) * format.maximumCode < high, scale < .greatestFiniteMagnitude {
      scale = scale.nextUp
    }
    let (base, inverse, top) = (Float(offset), 1 / Float(scale), format.maximumCode)
    func code(_ value: Float) -> UInt8 {
      UInt8(min(max(((value - base) * inverse).rounded(), 0), top))
    }
    grids.withUnsafeMutableBytes { bytes in
      let grid = bytes.assumingMemoryBound(to: Float16.self)
      grid[2 * row] = scale
      grid[2 * row + 1] = offset
    }
    codes.withUnsafeMutableBytes { bytes in
      let out = bytes.assumingMemoryBound(to: UInt8.self).baseAddress! + row * rowBytes
      if format == .int8 {
        for index in 0..<headSize { out[index] = code(values[index]) }
      } else {
        let half = headSize / 2
        for index in 0..<half {
          out[index] = code(values[index]) | code(values[half + index]) << 4
        }
      }
    }
  }

  /// Writes the first `count` tokens of a head as floats, `[count, headSize]`.
  func load(head: Int, count: Int, into out: Floats) {
    precondition(count <= capacity, "more tokens than the cache holds")
    let (first, half) = (head * capacity, headSize / 2)
    codes.withUnsafeBytes { bytes in
      grids.withUnsafeBytes { gridBytes in
        let codes = bytes.assumingMemoryBound(to: UInt8.self).baseAddress! + first * rowBytes
        let grids = gridBytes.assumingMemoryBound(to: Float16.self).baseAddress! + 2 * first
        for position in 0..<count {
          let scale = Float(grids[2 * position])
          let offset = Float(grids[2 * position + 1])
          let row = codes + position * rowBytes
          let target = out + position * headSize
          if format == .int8 {
            for index in 0..<headSize { target[index] = offset + scale * Float(row[index]) }
          } else {
            for index in 0..<half {
              target[index] = offset + scale * Float(row[index] & 15)
              target[half + index] = offset + scale * Float(row[index] >> 4)
            }
          }
        }
      }
    }
  }
}
