public import BitplanCore

/// A CPU by its ceilings: cores, vector width, dot-product rate, bandwidth of every level, and what
/// Bitplan's kernels need in cycles.
///
/// The time of a multiplication is what the call itself costs, plus the larger of moving the weights
/// and working on them (roofline: Williams, Waterman, Patterson, CACM 52(4), 2009,
/// doi:10.1145/1498765.1498785). The weights come from the innermost level that holds the working set.
public struct RooflineCPU: Hashable, Sendable, Codable {
  /// One level of the memory hierarchy.
  public struct Level: Hashable, Sendable, Codable {
    /// Such as `L2`, or `memory` for the last one.
    public var name: String
    /// Bytes that all threads together have; absent for memory.
    public var capacityBytes: Int?
    /// Bytes read in a second by all threads together.
    public var readBytesPerSecond: Double
    /// Bytes read in a second by one thread alone.
    public var readBytesPerSecondOneThread: Double

    /// Makes a level.
    public init(
      name: String, capacityBytes: Int?, readBytesPerSecond: Double,
      readBytesPerSecondOneThread: Double
    ) {
      self.name = name
      self.capacityBytes = capacityBytes
      self.readBytesPerSecond = readBytesPerSecond
      self.readBytesPerSecondOneThread = readBytesPerSecondOneThread
    }
  }

  /// Cycles that the kernels need, of one thread; a *vector* is ``RooflineCPU/vectorBits`` wide.
  public struct Work: Hashable, Sendable, Codable {
    /// One multiplication, whatever its size.
    public var callCycles: Double
    /// Handing a multiplication to other threads and waiting for them.
    public var handOverCycles: Double
    /// Quantizing one vector of 32-bit activations.
    public var quantizeCyclesPerVector: Double
    /// Unpacking and multiplying one vector of 8-bit codes with one token; by bit width, 2, 3, 4, 5,
    /// 6 and 8.
    public var decodeCyclesPerVector: [Double]
    /// Multiplying one vector of binary16 weights with one token.
    public var float16CyclesPerVector: Double
    /// Applying one vector of 32-bit scales to a group's sums, one token.
    public var groupCyclesPerVector: Double
    /// The same with many tokens.
    public var groupCyclesPerVectorPrefill: Double
    /// Expanding one vector of 8-bit codes once for many tokens.
    public var expandCyclesPerVector: Double
    /// Share of the int8 ceiling that many tokens reach.
    public var int8Efficiency: Double
    /// Share of the float32 ceiling that binary16 weights with many tokens reach.
    public var float32Efficiency: Double

    /// Makes the list.
    public init(
      callCycles: Double, handOverCycles: Double, quantizeCyclesPerVector: Double,
      decodeCyclesPerVector: [Double], float16CyclesPerVector: Double, groupCyclesPerVector: Double,
      groupCyclesPerVectorPrefill: Double, expandCyclesPerVector: Double, int8Efficiency: Double,
      float32Efficiency: Double
    ) {
      self.callCycles = callCycles
      self.handOverCycles = handOverCycles
      self.quantizeCyclesPerVector = quantizeCyclesPerVector
      self.decodeCyclesPerVector = decodeCyclesPerVector
      self.float16CyclesPerVector = float16CyclesPerVector
      self.groupCyclesPerVector = groupCyclesPerVector
      self.groupCyclesPerVectorPrefill = groupCyclesPerVectorPrefill
      self.expandCyclesPerVector = expandCyclesPerVector
      self.int8Efficiency = int8Efficiency
      self.float32Efficiency = float32Efficiency
    }
  }

  /// Threads, each on a core of its own.
  public var threads: Int
  /// Cycles in a second, all cores busy.
  public var clockHertz: Double
  /// Width of a vector register.
  public var vectorBits: Int
  /// Ceiling of 8-bit integer multiply-adds in a cycle, one core.
  public var int8MultiplyAddsPerCycle: Double
  /// Ceiling of single-precision multiply-adds in a cycle, one core.
  public var float32MultiplyAddsPerCycle: Double
  /// From the innermost; the last one is memory.
  public var levels: [Level]
  /// What the kernels need.
  public var work: Work
  /// Watts of the package while it works, where known: energy is time times this.
  public var activeWatts: Double?

  /// Describes a CPU.
  public init(
    threads: Int, clockHertz: Double, vectorBits: Int, int8MultiplyAddsPerCycle: Double,
    float32MultiplyAddsPerCycle: Double, levels: [Level], work: Work, activeWatts: Double? = nil
  ) {
    self.threads = threads
    self.clockHertz = clockHertz
    self.vectorBits = vectorBits
    self.int8MultiplyAddsPerCycle = int8MultiplyAddsPerCycle
    self.float32MultiplyAddsPerCycle = float32MultiplyAddsPerCycle
    self.levels = levels
    self.work = work
    self.activeWatts = activeWatts
  }

  /// Multiplications of fewer multiply-adds stay on one thread, as in the kernels that the device files
  /// were calibrated by (build 3 to 8; later ones share from twice as many on).
  static let parallelMultiplyAdds = 1 << 17

  /// Bit widths of ``Work/decodeCyclesPerVector``.
  public static let bitWidths = [2, 3, 4, 5, 6, 8]

  /// Seconds and joules of `format` at `shape` for `tokens` at once.
  ///
  /// - Parameter workingSetBytes: bytes of weights that a pass goes through; says which level they
  ///   come from.
  public func cost(
    _ format: WeightFormat, _ shape: MatrixShape, tokens: Int, workingSetBytes: Int
  ) -> SimulatedDevice.Cost {
    let seconds = seconds(format, shape, tokens: tokens, workingSetBytes: workingSetBytes)
    return SimulatedDevice.Cost(seconds: seconds, joules: activeWatts.map { $0 * seconds })
  }

  private func seconds(
    _ format: WeightFormat, _ shape: MatrixShape, tokens: Int, workingSetBytes: Int
  ) -> Double {
    let products = Double(shape.weightCount) * Double(tokens)
    let isParallel = shape.weightCount * tokens >= Self.parallelMultiplyAdds && threads > 1
    let share = isParallel ? Double(threads) : 1
    var serial = work.callCycles + (isParallel ? work.handOverCycles : 0)
    let lanes8 = Double(vectorBits) / 8
    let lanes32 = Double(vectorBits) / 32
    let weights = Double(shape.weightCount)
    let cycles: Double
    if format.coding == .float16 {
      cycles =
        tokens == 1
        ? weights / (lanes8 / 2) * work.float16CyclesPerVector
        : products / (float32MultiplyAddsPerCycle * work.float32Efficiency)
    } else {
      serial +=
        Double(shape.inputFeatures) * Double(tokens) / lanes32 * work.quantizeCyclesPerVector
      let groups = weights / Double(format.groupSize) / lanes32
      if tokens == 1 {
        let index = Self.bitWidths.firstIndex(of: format.bitWidth) ?? Self.bitWidths.count - 1
        cycles =
          weights / lanes8 * work.decodeCyclesPerVector[index] + groups * work.groupCyclesPerVector
      } else {
        cycles =
          products / (int8MultiplyAddsPerCycle * work.int8Efficiency)
          + groups * Double(tokens) * work.groupCyclesPerVectorPrefill
          + weights / lanes8 * work.expandCyclesPerVector
      }
    }
    let level = level(workingSetBytes)
    let bandwidth = isParallel ? level.readBytesPerSecond : level.readBytesPerSecondOneThread
    let moving = Double(format.storedBytes(shape)) / bandwidth
    return serial / clockHertz + max(moving, cycles / share / clockHertz)
  }

  /// The innermost level that holds `bytes`.
  func level(_ bytes: Int) -> Level {
    levels.first { $0.capacityBytes.map { $0 >= bytes } ?? true } ?? levels[levels.count - 1]
  }

  /// Checks that every number is in range.
  func validate() throws(SimulatedDeviceError) {
    try DeviceChecks.count(threads, in: 1...4096, "cpu.threads")
    try DeviceChecks.positive(clockHertz, "cpu.clockHertz")
    try DeviceChecks.count(vectorBits, in: 32...4096, "cpu.vectorBits")
    try DeviceChecks.positive(int8MultiplyAddsPerCycle, "cpu.int8MultiplyAddsPerCycle")
    try DeviceChecks.positive(float32MultiplyAddsPerCycle, "cpu.float32MultiplyAddsPerCycle")
    try DeviceChecks.count(levels.count, in: 1...16, "cpu.levels.count")
    for (index, level) in levels.enumerated() {
      let path = "cpu.levels[\(index)]"
      if level.name.isEmpty { throw SimulatedDeviceError("\(path).name", "is empty") }
      guard (level.capacityBytes == nil) == (index == levels.count - 1) else {
        throw SimulatedDeviceError(
          "\(path).capacityBytes", "must be given for every level but the last, which is memory")
      }
      if let capacity = level.capacityBytes {
        let smallest = index > 0 ? (levels[index - 1].capacityBytes ?? 0) + 1 : 1
        try DeviceChecks.count(capacity, in: smallest...Int.max, "\(path).capacityBytes")
      }
      try DeviceChecks.positive(level.readBytesPerSecond, "\(path).readBytesPerSecond")
      try DeviceChecks.positive(
        level.readBytesPerSecondOneThread, "\(path).readBytesPerSecondOneThread")
    }
    guard work.decodeCyclesPerVector.count == Self.bitWidths.count else {
      throw SimulatedDeviceError(
        "cpu.work.decodeCyclesPerVector",
        "has \(work.decodeCyclesPerVector.count) numbers, and needs one for each of the bit widths "
          + Self.bitWidths.map(String.init).joined(separator: ", "))
    }
    let amounts: [(Double, String)] =
      [
        (work.callCycles, "callCycles"), (work.handOverCycles, "handOverCycles"),
        (work.quantizeCyclesPerVector, "quantizeCyclesPerVector"),
        (work.float16CyclesPerVector, "float16CyclesPerVector"),
        (work.groupCyclesPerVector, "groupCyclesPerVector"),
        (work.groupCyclesPerVectorPrefill, "groupCyclesPerVectorPrefill"),
        (work.expandCyclesPerVector, "expandCyclesPerVector"),
      ] + work.decodeCyclesPerVector.map { ($0, "decodeCyclesPerVector") }
    for (value, key) in amounts { try DeviceChecks.amount(value, "cpu.work.\(key)") }
    try DeviceChecks.positive(work.int8Efficiency, "cpu.work.int8Efficiency")
    try DeviceChecks.positive(work.float32Efficiency, "cpu.work.float32Efficiency")
    if let activeWatts { try DeviceChecks.positive(activeWatts, "cpu.activeWatts") }
  }
}
