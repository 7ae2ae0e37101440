/// A systolic-array accelerator: its grid of processing elements, memories and energies.
public struct SystolicArray: Hashable, Sendable, Codable {
  /// What stays in a processing element while the other operands stream through.
  public enum Dataflow: String, Hashable, Sendable, Codable, CaseIterable {
    /// Sums stay: rows hold tokens, columns output features.
    case outputStationary
    /// Weights stay: rows hold input features, columns output features.
    case weightStationary
  }

  /// Where codes become values.
  public enum Dequantization: String, Hashable, Sendable, Codable, CaseIterable {
    /// Every weight on its way into the array, again for every tile of tokens.
    case beforeProduct
    /// The integer sum of a whole group, once a group, token and output feature (MixPE).
    case afterGroup
  }

  /// Energies of single events, in picojoules.
  public struct Energy: Hashable, Sendable, Codable {
    /// One processing element, one cycle of work.
    public var elementPicojoulesPerCycle: Double
    /// One processing element, one cycle, working or not.
    public var elementLeakagePicojoulesPerCycle: Double
    /// Scaling one weight, or one group's sum.
    public var scalePicojoules: Double
    /// One bit read from the weight SRAM.
    public var weightReadPicojoulesPerBit: Double
    /// One bit written to the weight SRAM.
    public var weightWritePicojoulesPerBit: Double
    /// One bit read from the activation SRAM.
    public var activationReadPicojoulesPerBit: Double
    /// One bit written to the activation SRAM.
    public var activationWritePicojoulesPerBit: Double
    /// One bit read from the output SRAM.
    public var outputReadPicojoulesPerBit: Double
    /// One bit written to the output SRAM.
    public var outputWritePicojoulesPerBit: Double
    /// All SRAM, one cycle.
    public var bufferLeakagePicojoulesPerCycle: Double
    /// One bit read from DRAM.
    public var memoryReadPicojoulesPerBit: Double
    /// One bit written to DRAM.
    public var memoryWritePicojoulesPerBit: Double
    /// DRAM, one cycle, whether used or not.
    public var memoryStaticPicojoulesPerCycle: Double
  }

  /// What the published model assumes that the corrected one does not.
  public struct Published: Hashable, Sendable, Codable {
    /// `high_prec`: bits at which an element does one product a cycle.
    public var highPrecisionBits: Int
    /// `low_prec`: fewest bits that still make it faster.
    public var lowPrecisionBits: Int
  }

  /// Elements in a column.
  public var rows: Int
  /// Elements in a row.
  public var columns: Int
  /// Cycles in a second.
  public var clockHertz: Double
  /// What stays in place.
  public var dataflow: Dataflow
  /// Bits of the widest weight that takes one cycle; wider ones take several.
  public var weightBits: Int
  /// Below ``weightBits``, an element does `weightBits / max(bits, smallestWeightBits)` products.
  public var smallestWeightBits: Int
  /// Bits of the widest activation that takes one cycle.
  public var activationBits: Int
  /// As ``smallestWeightBits``, for activations.
  public var smallestActivationBits: Int
  /// Width of the local integer accumulator; absent for floating-point accumulators.
  public var accumulatorBits: Int?
  /// Bits of a stored output.
  public var outputBits: Int
  /// Where codes become values.
  public var dequantization: Dequantization
  /// Scalings that can be done in a cycle.
  public var scaleUnits: Int
  /// Half of it holds the tile in use, half the next one.
  public var weightBufferBytes: Int
  /// Likewise for activations.
  public var activationBufferBytes: Int
  /// Likewise for outputs.
  public var outputBufferBytes: Int
  /// DRAM traffic, both directions together.
  public var memoryBitsPerCycle: Int
  /// Energies of single events.
  public var energy: Energy
  /// Precision rules of the published model, where there is one.
  public var published: Published?

  /// Checks that every number is in range.
  func validate() throws(SimulatedDeviceError) {
    let path = "systolicArray"
    let counts: [(Int, ClosedRange<Int>, String)] = [
      (rows, 1...4096, "rows"), (columns, 1...4096, "columns"),
      (weightBits, 1...16, "weightBits"), (activationBits, 1...16, "activationBits"),
      (smallestWeightBits, 1...weightBits.clamped(1, 16), "smallestWeightBits"),
      (smallestActivationBits, 1...activationBits.clamped(1, 16), "smallestActivationBits"),
      (accumulatorBits ?? 32, 8...64, "accumulatorBits"), (outputBits, 1...64, "outputBits"),
      (scaleUnits, 1...1 << 24, "scaleUnits"),
      (weightBufferBytes, 1...1 << 40, "weightBufferBytes"),
      (activationBufferBytes, 1...1 << 40, "activationBufferBytes"),
      (outputBufferBytes, 1...1 << 40, "outputBufferBytes"),
      (memoryBitsPerCycle, 1...1 << 30, "memoryBitsPerCycle"),
    ]
    for (value, range, key) in counts {
      try DeviceChecks.count(value, in: range, "\(path).\(key)")
    }
    try DeviceChecks.positive(clockHertz, "\(path).clockHertz")
    let amounts: [(Double, String)] = [
      (energy.elementPicojoulesPerCycle, "elementPicojoulesPerCycle"),
      (energy.elementLeakagePicojoulesPerCycle, "elementLeakagePicojoulesPerCycle"),
      (energy.scalePicojoules, "scalePicojoules"),
      (energy.weightReadPicojoulesPerBit, "weightReadPicojoulesPerBit"),
      (energy.weightWritePicojoulesPerBit, "weightWritePicojoulesPerBit"),
      (energy.activationReadPicojoulesPerBit, "activationReadPicojoulesPerBit"),
      (energy.activationWritePicojoulesPerBit, "activationWritePicojoulesPerBit"),
      (energy.outputReadPicojoulesPerBit, "outputReadPicojoulesPerBit"),
      (energy.outputWritePicojoulesPerBit, "outputWritePicojoulesPerBit"),
      (energy.bufferLeakagePicojoulesPerCycle, "bufferLeakagePicojoulesPerCycle"),
      (energy.memoryReadPicojoulesPerBit, "memoryReadPicojoulesPerBit"),
      (energy.memoryWritePicojoulesPerBit, "memoryWritePicojoulesPerBit"),
      (energy.memoryStaticPicojoulesPerCycle, "memoryStaticPicojoulesPerCycle"),
    ]
    for (value, key) in amounts { try DeviceChecks.amount(value, "\(path).energy.\(key)") }
    if let published {
      try DeviceChecks.count(
        published.highPrecisionBits, in: 1...64, "\(path).published.highPrecisionBits")
      try DeviceChecks.count(
        published.lowPrecisionBits, in: 1...published.highPrecisionBits,
        "\(path).published.lowPrecisionBits")
    }
  }
}

extension Int {
  /// The nearest value in `low…high`.
  func clamped(_ low: Int, _ high: Int) -> Int { Swift.min(Swift.max(self, low), high) }

  /// The quotient rounded up; both must be positive or the dividend 0.
  func dividedUp(by divisor: Int) -> Int { (self + divisor - 1) / divisor }
}
