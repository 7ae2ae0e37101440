internal import BitplanCore
internal import CBitplanKernels

/// Writes the sections of one segment to zeroed memory of `layout.storedBytes` bytes.
internal struct Packing {
  let layout: PackedLayout
  let base: UnsafeMutableRawPointer

  private var rows: Int64 { Int64(layout.shape.outputFeatures) }
  private var columns: Int64 { Int64(layout.shape.inputFeatures) }
  private var groups: Int64 { Int64(layout.groupCount) }
  private var bits: Int32 { Int32(layout.format.bitWidth) }
  private var groupSize: Int32 { Int32(layout.format.groupSize) }
  private var scales: UnsafeMutableRawPointer { base + layout.scalesOffset }
  private var third: UnsafeMutableRawPointer { base + layout.zeroPointsOffset }

  /// Packs what belongs to the layout's format; codes and zero points are below `2^bitWidth`.
  func write(_ payload: QuantizedWeights.Payload) {
    switch payload {
    case .float16(let values):
      bp_pack_float16(values, rows, columns, base.assumingMemoryBound(to: UInt16.self))
    case .integer(let codes, let scales, let zeroPoints):
      writeCodes(codes)
      writeHalves(scales, perRow: layout.scalesPerRow, to: self.scales)
      if !zeroPoints.isEmpty {
        check(zeroPoints)
        bp_pack_zero_points(
          zeroPoints, rows, groups, bits, third.assumingMemoryBound(to: UInt8.self))
      }
    case .blockFloat(let codes, let exponents):
      writeCodes(codes)
      bp_pack_bytes(exponents, rows, groups, scales.assumingMemoryBound(to: UInt8.self))
    case .twoLevel(let codes, let scales, let levels):
      writeCodes(codes)
      writeHalves(scales, perRow: 1, to: self.scales)
      bp_pack_bytes(levels.map(\.byte), rows, groups, third.assumingMemoryBound(to: UInt8.self))
    case .binary(let codes, let scales, let offsets, let planeWeights):
      check(codes)
      bp_pack_bit_planes(
        codes, rows, columns, bits, groupSize, base.assumingMemoryBound(to: UInt8.self))
      writeHalves(scales, perRow: layout.scalesPerRow, to: self.scales)
      bp_pack_offsets(
        offsets, planeWeights, rows, groups, bits, third.assumingMemoryBound(to: UInt16.self))
    }
  }

  private func writeCodes(_ codes: [UInt8]) {
    check(codes)
    bp_pack_codes(
      codes, rows, columns, bits, groupSize, base.assumingMemoryBound(to: UInt8.self))
  }

  private func writeHalves(_ values: [UInt16], perRow: Int, to target: UnsafeMutableRawPointer) {
    bp_pack_scales(values, rows, Int64(perRow), target.assumingMemoryBound(to: UInt16.self))
  }

  private func check(_ codes: [UInt8]) {
    let mask = UInt8(truncatingIfNeeded: (1 << layout.format.bitWidth) - 1)
    precondition(
      codes.allSatisfy { $0 & ~mask == 0 }, "codes and zero points are below 2^bitWidth")
  }
}
