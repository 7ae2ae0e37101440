import BitplanCore
import BitplanKernels
import BitplanTestSupport

extension SeededGenerator {
  /// Weights whose codes, scales and whatever else the format stores are all random.
  mutating func weights(_ format: WeightFormat, _ shape: MatrixShape) -> QuantizedWeights {
    QuantizedWeights(format: format, shape: shape, payload: payload(format, shape))
  }

  private mutating func payload(
    _ format: WeightFormat, _ shape: MatrixShape
  ) -> QuantizedWeights.Payload {
    if format.coding == .float16 { return .float16(halves(shape.weightCount, upTo: 1)) }
    let layout = PackedLayout(format, shape)
    let groups = layout.groupCount * shape.outputFeatures
    let codes = bytes(shape.weightCount, below: 1 << format.bitWidth)
    let scales = halves(layout.scalesPerRow * shape.outputFeatures, upTo: 0.01)
    switch format.coding {
    case .blockFloat:
      // 2⁻¹⁴ … 2⁻⁷, and blocks of zeros.
      let exponents = bytes(groups, below: 9).map { $0 == 0 ? 0 : 112 + $0 }
      return .blockFloat(codes: codes, exponents: exponents)
    case .twoLevel:
      return .twoLevel(
        codes: codes, scales: scales,
        levels: bytes(groups, below: 256).map(TwoLevelCode.init(byte:)))
    case .binary:
      // In every other group plane weights together are more than a signed byte holds, and wrap.
      let count = layout.planeWeightsPerGroup
      return .binary(
        codes: codes, scales: scales, offsets: halves(groups, upTo: 0.01),
        planeWeights: bytes(groups * count, below: 256).enumerated().map { index, weight in
          index / count % layout.groupCount % 2 == 0 ? weight : weight & 31
        })
    case .affine, .symmetric, .nonlinear, .perRow, .float16:
      return .integer(
        codes: codes, scales: scales,
        zeroPoints: format.coding == .affine ? bytes(groups, below: 1 << format.bitWidth) : [])
    }
  }

  private mutating func bytes(_ count: Int, below limit: Int) -> [UInt8] {
    (0..<count).map { _ in UInt8(next() % UInt64(limit)) }
  }

  private mutating func halves(_ count: Int, upTo magnitude: Float) -> [UInt16] {
    (0..<count).map { _ in Float16(magnitude * float()).bitPattern }
  }
}

extension QuantizedWeights {
  /// Segments in which every weight is the same whole number, at the ends of what `format` can
  /// store, with that number. Every scale is 1.
  static func constants(
    _ format: WeightFormat, _ shape: MatrixShape
  ) -> [(weights: QuantizedWeights, value: Int)] {
    let layout = PackedLayout(format, shape)
    let groups = layout.groupCount * shape.outputFeatures
    let one = Float16(1).bitPattern
    let scales = [UInt16](repeating: one, count: layout.scalesPerRow * shape.outputFeatures)
    let top = (1 << format.bitWidth) - 1
    func codes(_ code: Int) -> [UInt8] {
      [UInt8](repeating: UInt8(code), count: shape.weightCount)
    }
    func integer(_ code: Int, zero: Int? = nil) -> Payload {
      .integer(
        codes: codes(code), scales: scales,
        zeroPoints: zero.map { [UInt8](repeating: UInt8($0), count: groups) } ?? [])
    }
    let payloads: [(Payload, Int)]
    switch format.coding {
    case .affine:
      payloads = [(top, 0), (top, top), (0, top)].map { (integer($0.0, zero: $0.1), $0.0 - $0.1) }
    case .symmetric, .perRow:
      payloads = [0, top].map { (integer($0), $0 - (top + 1) / 2) }
    case .nonlinear:
      payloads = [(integer(0), -127), (integer(15), 113)]
    case .blockFloat:
      payloads = [0, top].map {
        let exponents = [UInt8](repeating: 127, count: groups)
        return (.blockFloat(codes: codes($0), exponents: exponents), $0 - (top + 1) / 2)
      }
    case .twoLevel:
      // 16 · (0 − 8) = −128, 16 · (15 − 8) = 112, and 16 · 15 = 240, which wraps to −16.
      payloads = [(0, 8, -128), (15, 8, 112), (15, 0, -16)].map { code, zero, value in
        let level = TwoLevelCode(groupScale: 16, zeroPoint: zero)
        let levels = [TwoLevelCode](repeating: level, count: groups)
        return (.twoLevel(codes: codes(code), scales: scales, levels: levels), value)
      }
    case .binary:
      let offsets = [UInt16](repeating: one, count: groups)
      // Plane weights are 127 together, the most that does not wrap, or 128: code 0 stands for −128,
      // and so does the largest code.
      let sums = format.bitWidth == 1 ? [(1, 1)] : [(127, 127), (128, -128)]
      payloads = sums.flatMap { sum, largest -> [(Payload, Int)] in
        let low = (1..<max(1, format.bitWidth)).map { _ in 8 }
        let planes = format.bitWidth == 1 ? [] : low + [sum - low.reduce(0, +)]
        let planeWeights = (0..<groups).flatMap { _ in planes.map { UInt8($0) } }
        return [(0, 1 - sum), (top, 1 + largest)].map { code, value in
          let payload = Payload.binary(
            codes: codes(code), scales: scales, offsets: offsets, planeWeights: planeWeights)
          return (payload, value)
        }
      }
    case .float16:
      payloads = [
        (.float16([UInt16](repeating: one, count: shape.weightCount)), 1)
      ]
    }
    return payloads.map {
      (QuantizedWeights(format: format, shape: shape, payload: $0.0), $0.1)
    }
  }

  /// The same weights with one bit changed, once in everything that the format stores.
  var damaged: [QuantizedWeights] {
    func flipped<Value: BinaryInteger>(_ values: [Value], _ bit: Value) -> [Value] {
      values.dropLast() + [values[values.count - 1] ^ bit]
    }
    let codeBit = UInt8(truncatingIfNeeded: 1 << (format.bitWidth - 1))
    let halfBit: UInt16 = 0x200
    let payloads: [Payload]
    switch payload {
    case .float16(let values):
      payloads = [.float16(flipped(values, halfBit))]
    case .integer(let codes, let scales, let zeros):
      payloads =
        [
          .integer(codes: flipped(codes, codeBit), scales: scales, zeroPoints: zeros),
          .integer(codes: codes, scales: flipped(scales, halfBit), zeroPoints: zeros),
        ]
        + (zeros.isEmpty
          ? [] : [.integer(codes: codes, scales: scales, zeroPoints: flipped(zeros, 1))])
    case .blockFloat(let codes, let exponents):
      payloads = [
        .blockFloat(codes: flipped(codes, codeBit), exponents: exponents),
        .blockFloat(codes: codes, exponents: flipped(exponents, 1)),
      ]
    case .twoLevel(let codes, let scales, let levels):
      let bytes = levels.map(\.byte)
      payloads =
        [
          .twoLevel(codes: flipped(codes, codeBit), scales: scales, levels: levels),
          .twoLevel(codes: codes, scales: flipped(scales, halfBit), levels: levels),
        ]
        + [1, 16].map { bit in
          .twoLevel(
            codes: codes, scales: scales, levels: flipped(bytes, bit).map(TwoLevelCode.init(byte:)))
        }
    case .binary(let codes, let scales, let offsets, let planes):
      payloads = [
        (flipped(codes, codeBit), scales, offsets, planes),
        (flipped(codes, 1), scales, offsets, planes),
        (codes, flipped(scales, halfBit), offsets, planes),
        (codes, scales, flipped(offsets, halfBit), planes),
        (codes, scales, offsets, planes.isEmpty ? planes : flipped(planes, 1)),
      ].prefix(planes.isEmpty ? 4 : 5).map {
        Payload.binary(codes: $0, scales: $1, offsets: $2, planeWeights: $3)
      }
    }
    return payloads.map { QuantizedWeights(format: format, shape: shape, payload: $0) }
  }
}
