/// The element types that weights may have, and how they become `Float`.
enum FloatSource: String {
  case float32 = "F32"
  case float16 = "F16"
  case bfloat16 = "BF16"

  /// Converted values, and whether any of them is not a finite number.
  struct Converted {
    let values: [Float]
    /// The first NaN or infinity of the source.
    let firstNonFinite: NonFinite?
  }

  /// Where a value is not a finite number.
  struct NonFinite {
    let index: Int
    /// NaN, as opposed to infinite.
    let isNaN: Bool
  }

  /// Converts every element of `bytes`, which may be unaligned.
  ///
  /// The loops have no branches, so that they compile to vector instructions; non-finite values are
  /// only counted in them and located afterwards.
  func floats(_ bytes: UnsafeRawBufferPointer) -> Converted {
    switch self {
    case .float32: Self.convert32(bytes)
    case .bfloat16: Self.convert16(bytes, exponent: 0x7F80, Self.fromBFloat16)
    case .float16: Self.convert16(bytes, exponent: 0x7C00, Self.fromFloat16)
    }
  }

  /// BF16 is the upper half of a `Float`.
  @inline(__always) private static func fromBFloat16(_ bits: UInt16) -> Float {
    Float(bitPattern: UInt32(bits) << 16)
  }

  /// Moves exponent and mantissa into place and corrects the exponent bias by an exact product with
  /// 2¹¹²; right for normal and subnormal values. (Infinity and NaN come out as finite numbers, but
  /// they are errors before anybody uses them.)
  @inline(__always) private static func fromFloat16(_ bits: UInt16) -> Float {
    let magnitude = Float(bitPattern: UInt32(bits & 0x7FFF) << 13) * 0x1p112
    return Float(bitPattern: magnitude.bitPattern | UInt32(bits & 0x8000) << 16)
  }

  @inline(__always) private static func convert16(
    _ bytes: UnsafeRawBufferPointer, exponent: UInt16, _ convert: (UInt16) -> Float
  ) -> Converted {
    let count = bytes.count / 2
    var nonFinite = false
    let values = [Float](unsafeUninitializedCapacity: count) { target, initialized in
      if let source = bytes.baseAddress, let base = target.baseAddress {
        var found: UInt16 = 0
        for index in 0..<count {
          let bits = source.loadUnaligned(fromByteOffset: 2 &* index, as: UInt16.self)
          found |= bits & exponent == exponent ? 1 : 0
          (base + index).initialize(to: convert(bits))
        }
        nonFinite = found != 0
      }
      initialized = count
    }
    func bits(_ index: Int) -> UInt16 {
      bytes.loadUnaligned(fromByteOffset: 2 * index, as: UInt16.self)
    }
    return located(values, nonFinite: nonFinite) {
      bits($0) & exponent == exponent
    } isNaN: {
      bits($0) & 0x7FFF != exponent
    }
  }

  private static func convert32(_ bytes: UnsafeRawBufferPointer) -> Converted {
    let count = bytes.count / 4
    let exponent: UInt32 = 0x7F80_0000
    var nonFinite = false
    let values = [Float](unsafeUninitializedCapacity: count) { target, initialized in
      if let source = bytes.baseAddress, let base = target.baseAddress {
        var found: UInt32 = 0
        for index in 0..<count {
          let bits = source.loadUnaligned(fromByteOffset: 4 &* index, as: UInt32.self)
          found |= bits & exponent == exponent ? 1 : 0
          (base + index).initialize(to: Float(bitPattern: bits))
        }
        nonFinite = found != 0
      }
      initialized = count
    }
    return located(values, nonFinite: nonFinite) {
      !values[$0].isFinite
    } isNaN: {
      values[$0].isNaN
    }
  }

  private static func located(
    _ values: [Float], nonFinite: Bool, _ isNonFinite: (Int) -> Bool,
    isNaN: (Int) -> Bool
  ) -> Converted {
    let first = nonFinite ? values.indices.first(where: isNonFinite) : nil
    return Converted(
      values: values, firstNonFinite: first.map { NonFinite(index: $0, isNaN: isNaN($0)) })
  }
}
