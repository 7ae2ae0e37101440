extension QuantizedWeights {
  /// The real weights that the codes stand for, `[outputFeatures, inputFeatures]`, row-major.
  public func dequantized() -> [Float] {
    switch payload {
    case .float16(let values):
      return values.map { Float(Float16(bitPattern: $0)) }
    case .integer(let codes, let scales, let zeroPoints):
      let perRow = format.coding == .perRow
      let groups = PackedLayout(format, shape).groupCount
      if format.coding == .nonlinear {
        return byGroup(codes) { index, codes, values in
          let scale = Self.float(scales[index])
          for (position, code) in codes { values[position] = scale * NonlinearLevels.value(code) }
        }
      }
      let middle = 1 << (format.bitWidth - 1)
      return byGroup(codes) { index, codes, values in
        let scale = Self.float(scales[perRow ? index / groups : index])
        let zero = zeroPoints.isEmpty ? middle : Int(zeroPoints[index])
        for (position, code) in codes { values[position] = scale * Float(Int(code) - zero) }
      }
    case .blockFloat(let codes, let exponents):
      let middle = 1 << (format.bitWidth - 1)
      return byGroup(codes) { index, codes, values in
        let scale = Self.scale(exponent: exponents[index])
        for (position, code) in codes { values[position] = scale * Float(Int(code) - middle) }
      }
    case .twoLevel(let codes, let scales, let levels):
      let groups = PackedLayout(format, shape).groupCount
      return byGroup(codes) { index, codes, values in
        let scale = Self.float(scales[index / groups])
        for (position, code) in codes {
          values[position] = scale * Float(levels[index].weight(code))
        }
      }
    case .binary(let codes, let scales, let offsets, let planeWeights):
      let count = PackedLayout(format, shape).planeWeightsPerGroup
      return byGroup(codes) { index, codes, values in
        let (scale, offset) = (Self.float(scales[index]), Self.float(offsets[index]))
        let weights = PlaneWeights(stored: planeWeights[index * count..<(index + 1) * count])
        let levels = (0..<1 << format.bitWidth).map { code in
          // The product is exact: 11 bits of the scale times 8.
          offset + scale * Float(weights.weight(UInt8(code)))
        }
        for (position, code) in codes { values[position] = levels[Int(code)] }
      }
    }
  }

  /// `2^(exponent − 127)`, and 0 for exponent 0: a float whose exponent field is the byte.
  public static func scale(exponent: UInt8) -> Float { Float(bitPattern: UInt32(exponent) << 23) }

  private static func float(_ half: UInt16) -> Float { Float(Float16(bitPattern: half)) }

  /// Calls `body` with the index of every group of every row, its codes with their positions, and
  /// where the values go.
  private func byGroup(
    _ codes: [UInt8],
    _ body: (Int, Zip2Sequence<Range<Int>, ArraySlice<UInt8>>, inout [Float]) -> Void
  ) -> [Float] {
    let groups = PackedLayout(format, shape).groupCount
    let (columns, groupSize) = (shape.inputFeatures, format.groupSize)
    var values = [Float](repeating: 0, count: codes.count)
    for row in 0..<shape.outputFeatures {
      for group in 0..<groups {
        let end = row * columns + min((group + 1) * groupSize, columns)
        let range = row * columns + group * groupSize..<end
        body(row * groups + group, zip(range, codes[range]), &values)
      }
    }
    return values
  }
}
