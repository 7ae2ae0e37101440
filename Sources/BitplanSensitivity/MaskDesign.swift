public import BitplanCore

/// Which operators a forward pass quantizes, and to what.
public struct Mask: Hashable, Sendable {
  /// Index into the candidate formats for every operator; `nil` leaves it in float.
  public let formatIndices: [Int?]

  /// Makes a mask.
  public init(formatIndices: [Int?]) { self.formatIndices = formatIndices }

  /// Operators that are quantized.
  public var quantizedCount: Int { formatIndices.count { $0 != nil } }
}

/// Random masks for mask-guided estimation (OHQ), laid out as a designed experiment.
///
/// Interactions between operators make a pass deviate from the sum of its parts by a share of its
/// total, so a pass with few operators tells more about each of them than a pass with half of them.
/// The design therefore is mostly random *partitions*: the operators are shuffled and cut into
/// small masks, so that every operator appears exactly once a partition, each time in other
/// company and in another bit width. Some dense masks, in which every operator has a random
/// format, then show how the parts add up in whole plans.
///
/// Pass `p` depends on the seed and `p` alone, so an interrupted measurement goes on where it was.
public struct MaskDesign: Sendable {
  private let formats: [WeightFormat]
  private let operatorCount: Int
  private let seed: UInt64

  /// Operators of one sparse mask.
  public let maskSize: Int
  /// Partitions of the operators into sparse masks.
  public let partitionCount: Int
  /// Masks in which every operator is quantized.
  public let denseCount: Int

  /// A design for `operatorCount` operators.
  public init(
    operatorCount: Int, formats: [WeightFormat], seed: UInt64, maskSize: Int, partitionCount: Int,
    denseCount: Int
  ) {
    precondition(operatorCount > 0 && !formats.isEmpty && maskSize > 0)
    self.operatorCount = operatorCount
    self.formats = formats
    self.seed = seed
    self.maskSize = maskSize
    self.partitionCount = partitionCount
    self.denseCount = denseCount
  }

  /// The design that a measurement takes where it is not told another. Gradients already tell
  /// operators apart, and masked passes only correct them.
  public init(operatorCount: Int, formats: [WeightFormat], seed: UInt64, hasGradients: Bool) {
    self.init(
      operatorCount: operatorCount, formats: formats, seed: seed,
      maskSize: max(1, operatorCount / 14), partitionCount: hasGradients ? 1 : 8, denseCount: 16)
  }

  private var masksPerPartition: Int { (operatorCount + maskSize - 1) / maskSize }

  /// Forward passes of the whole design.
  public var passCount: Int { masksPerPartition * partitionCount + denseCount }

  /// The mask of pass `index`.
  public func mask(_ index: Int) -> Mask {
    precondition(index >= 0 && index < passCount)
    if index < denseCount { return denseMask(index) }
    let sparse = index - denseCount
    return sparseMask(partition: sparse / masksPerPartition, part: sparse % masksPerPartition)
  }

  private func sparseMask(partition: Int, part: Int) -> Mask {
    var generator = SeededGenerator(state: seed &+ 0x5151 &* UInt64(partition + 1))
    let order = (0..<operatorCount).shuffled(using: &generator)
    var chosen = [Int?](repeating: nil, count: operatorCount)
    // Bit widths change from partition to partition; formats of that width at random.
    let widths = informativeWidths
    let width = widths[partition % widths.count]
    let candidates = formats.indices.filter { formats[$0].bitWidth == width }
    for (position, index) in order.enumerated() {
      let format = candidates[Int.random(in: candidates.indices, using: &generator)]
      if position / maskSize == part { chosen[index] = format }
    }
    return Mask(formatIndices: chosen)
  }

  /// Dense masks mix two neighbouring bit widths, as plans do. One bit stays out of them: a plan gives
  /// it to rows that matter little, and in whole operators it loses so much that what the rest of the
  /// pass loses cannot be told.
  private func denseMask(_ index: Int) -> Mask {
    var generator = SeededGenerator(state: seed &+ 0xDE05E &* UInt64(index + 1))
    let widths = Array(Set(formats.map(\.bitWidth))).sorted().filter { (2...6).contains($0) }
    guard !widths.isEmpty else {
      return Mask(
        formatIndices: (0..<operatorCount).map { _ in
          Int.random(in: formats.indices, using: &generator)
        })
    }
    let lower = widths[index % widths.count]
    let upper = widths[min(index % widths.count + 1, widths.count - 1)]
    let candidates = formats.indices.filter { [lower, upper].contains(formats[$0].bitWidth) }
    return Mask(
      formatIndices: (0..<operatorCount).map { _ in
        candidates[Int.random(in: candidates.indices, using: &generator)]
      })
  }

  /// Widths whose loss stands clear of float rounding, and which plans use: 3 and 4 bits first.
  private var informativeWidths: [Int] {
    let present = Set(formats.map(\.bitWidth))
    let preferred = [3, 4, 2, 5].filter(present.contains)
    return preferred.isEmpty ? Array(present).sorted() : preferred
  }
}
