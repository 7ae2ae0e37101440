public import BitplanCore

extension QuantizedWeights {
  /// The same weights in binary coding, or `nil` unless the format is affine and binary coding has
  /// its bit width and group size.
  ///
  /// `scale · (code − zeroPoint)` equals `offset + scale/2 · Σ_i ±2^i` with
  /// `offset = scale · ((2^bitWidth − 1) / 2 − zeroPoint)` (Park et al. 2024, LUT-GEMM,
  /// arXiv:2206.09557), so the codes stay, and weights differ only by the rounding of the offset,
  /// and of scales too small for a binary16 number's full precision, to binary16.
  public func binaryCoded() -> QuantizedWeights? {
    guard format.coding == .affine,
      let target = WeightFormat(identifier: "bcq\(format.bitWidth)_g\(format.groupSize)"),
      case .integer(let codes, let scales, let zeroPoints) = payload
    else { return nil }
    let bits = format.bitWidth
    var halves: [UInt16] = []
    var offsets: [UInt16] = []
    for (scale, zero) in zip(scales, zeroPoints) {
      let scale = Float(Float16(bitPattern: scale))
      halves.append(Float16(scale / 2).bitPattern)
      let middle = Float((1 << bits) - 1) / 2
      offsets.append(Float16(scale * (middle - Float(zero))).bitPattern)
    }
    let powers = (0..<bits).map { UInt8(1) << UInt8($0) }
    return QuantizedWeights(
      format: target, shape: shape,
      payload: .binary(
        codes: codes, scales: halves, offsets: offsets,
        planeWeights: scales.flatMap { _ in powers }))
  }
}
