public import BitplanCore

extension QuantizedWeights {
  /// The same weights in binary coding, or `nil` unless the format is affine and binary coding has
  /// its bit width and group size.
  ///
  /// `scale · (code − zeroPoint)` equals `offset + Σ_i ±scale · 2^(i−1)` with
  /// `offset = scale · ((2^bitWidth − 1) / 2 − zeroPoint)` (Park et al. 2024, LUT-GEMM,
  /// arXiv:2206.09557), so the codes stay, and weights differ only by the rounding of the offset,
  /// and of scales too small for a binary16 number's full precision, to binary16.
  public func binaryCoded() -> QuantizedWeights? {
    guard format.coding == .affine,
      let target = WeightFormat(identifier: "bcq\(format.bitWidth)_g\(format.groupSize)"),
      case .integer(let codes, let scales, let zeroPoints) = payload
    else { return nil }
    let bits = format.bitWidth
    var parts: [UInt16] = []
    var offsets: [UInt16] = []
    for (scale, zero) in zip(scales, zeroPoints) {
      let scale = Float(Float16(bitPattern: scale))
      for bit in 0..<bits { parts.append(Float16(scale * Float(1 << bit) / 2).bitPattern) }
      let middle = Float((1 << bits) - 1) / 2
      offsets.append(Float16(scale * (middle - Float(zero))).bitPattern)
    }
    return QuantizedWeights(
      format: target, shape: shape,
      payload: .binary(codes: codes, scales: parts, offsets: offsets))
  }
}
