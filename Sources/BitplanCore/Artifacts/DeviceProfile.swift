/// What one machine costs for every (format, shape, batch): measured, or simulated.
public struct DeviceProfile: Hashable, Sendable, Codable {
  /// The major version this code reads and writes.
  public static let supportedSchemaVersion = 1

  /// What makes two measurements comparable. A profile is used only where its key agrees.
  public struct Key: Hashable, Sendable, Codable {
    /// The CPU's own name.
    public let cpuModel: String
    /// Instruction set of the kernels that were timed.
    public let instructionSet: String
    /// Threads that the kernels used.
    public let threadCount: Int
    /// Hash of the kernel library's sources or version: changes when a kernel changes.
    public let kernelBuild: String

    /// Makes a key.
    public init(cpuModel: String, instructionSet: String, threadCount: Int, kernelBuild: String) {
      self.cpuModel = cpuModel
      self.instructionSet = instructionSet
      self.threadCount = threadCount
      self.kernelBuild = kernelBuild
    }
  }

  /// The machine's measured ceilings.
  public struct Peaks: Hashable, Sendable, Codable {
    /// Bytes read from memory in a second, by all threads together.
    public let readBytesPerSecond: Double
    /// Bytes read from memory in a second by one thread.
    public let readBytesPerSecondOneThread: Double
    /// 8-bit integer multiply-adds in a second, by all threads together.
    public let int8MultiplyAddsPerSecond: Double
    /// Single-precision multiply-adds in a second, by all threads together.
    public let float32MultiplyAddsPerSecond: Double

    /// Makes the ceilings.
    public init(
      readBytesPerSecond: Double, readBytesPerSecondOneThread: Double,
      int8MultiplyAddsPerSecond: Double, float32MultiplyAddsPerSecond: Double
    ) {
      self.readBytesPerSecond = readBytesPerSecond
      self.readBytesPerSecondOneThread = readBytesPerSecondOneThread
      self.int8MultiplyAddsPerSecond = int8MultiplyAddsPerSecond
      self.float32MultiplyAddsPerSecond = float32MultiplyAddsPerSecond
    }
  }

  /// The cost of one (format, shape, batch).
  public struct Measurement: Hashable, Sendable, Codable {
    /// Format of the weights.
    public let format: WeightFormat
    /// Shape of the operator.
    public let shape: MatrixShape
    /// Tokens multiplied at once: 1 is decode.
    public let batch: Int
    /// Median seconds of one multiplication, activation quantization included.
    public let seconds: Double
    /// Half the distance between the quartiles, in seconds.
    public let spreadSeconds: Double
    /// Timings kept.
    public let repeats: Int
    /// Joules of one multiplication, where the device can tell.
    public let joules: Double?

    /// Makes a measurement.
    public init(
      format: WeightFormat, shape: MatrixShape, batch: Int, seconds: Double, spreadSeconds: Double,
      repeats: Int, joules: Double? = nil
    ) {
      self.format = format
      self.shape = shape
      self.batch = batch
      self.seconds = seconds
      self.spreadSeconds = spreadSeconds
      self.repeats = repeats
      self.joules = joules
    }
  }

  /// What a side branch adds to one multiplication, whatever the formats beside it.
  public struct BranchMeasurement: Hashable, Sendable, Codable {
    /// The branch.
    public let branch: SideBranch
    /// Shape of the operator.
    public let shape: MatrixShape
    /// Tokens multiplied at once: 1 is decode.
    public let batch: Int
    /// Median seconds.
    public let seconds: Double
    /// Half the distance between the quartiles, in seconds.
    public let spreadSeconds: Double
    /// Timings kept.
    public let repeats: Int
    /// Joules, where the device can tell.
    public let joules: Double?

    /// Makes a measurement.
    public init(
      branch: SideBranch, shape: MatrixShape, batch: Int, seconds: Double, spreadSeconds: Double,
      repeats: Int, joules: Double? = nil
    ) {
      self.branch = branch
      self.shape = shape
      self.batch = batch
      self.seconds = seconds
      self.spreadSeconds = spreadSeconds
      self.repeats = repeats
      self.joules = joules
    }
  }

  /// From the sum over operators to the whole model: `whole = factor · sum + fixedSeconds`.
  ///
  /// Operator times do not quite add up: norms, attention and hand-over between operators cost
  /// time that no operator owns. The correction is measured by running the whole model.
  public struct Correction: Hashable, Sendable, Codable {
    /// Fingerprint of the architecture (shapes and layers) that was run.
    public let architectureSHA256: String
    /// Tokens processed at once: 1 is decode.
    public let batch: Int
    /// Multiplies the sum of operator times.
    public let factor: Double
    /// Added once per forward pass, in seconds.
    public let fixedSeconds: Double
    /// Added for every segment of an operator beyond its first, in seconds: rows in another format
    /// may need the activations quantized again and start a loop of their own.
    public let secondsPerExtraSegment: Double
    /// How many times as long operators take with 16-bit activations as with 8-bit ones; absent
    /// where it was not measured.
    public let sixteenBitActivationFactor: Double?
    /// Added to a pass that rotates the input of every layer's `down` at run time, in seconds;
    /// absent where it was not measured.
    public let inputRotationSeconds: Double?
    /// The same for Kronecker products of two dense matrices.
    public let inputKroneckerSeconds: Double?

    /// Makes a correction.
    public init(
      architectureSHA256: String, batch: Int, factor: Double, fixedSeconds: Double,
      secondsPerExtraSegment: Double = 0, sixteenBitActivationFactor: Double? = nil,
      inputRotationSeconds: Double? = nil, inputKroneckerSeconds: Double? = nil
    ) {
      self.architectureSHA256 = architectureSHA256
      self.batch = batch
      self.factor = factor
      self.fixedSeconds = fixedSeconds
      self.secondsPerExtraSegment = secondsPerExtraSegment
      self.sixteenBitActivationFactor = sixteenBitActivationFactor
      self.inputRotationSeconds = inputRotationSeconds
      self.inputKroneckerSeconds = inputKroneckerSeconds
    }
  }

  /// Major version of the file's layout.
  public var schemaVersion: Int
  /// A short name for people and file names, such as `xeon-8-core-2t`.
  public var name: String
  /// Whether a simulator made the numbers.
  public var simulated: Bool
  /// What makes two measurements comparable.
  public var key: Key
  /// Measured ceilings.
  public var peaks: Peaks
  /// Whether one token of `bcq1_g128` took less time through lookup tables than by masked planes;
  /// absent where the two were not compared.
  public var usesLookup: Bool?
  /// Packed bytes that were cycled through while timing, so that caches are as cold as in use.
  public var workingSetBytes: Int
  /// Costs, sorted by shape, format and batch.
  public var measurements: [Measurement]
  /// Corrections for whole models.
  public var corrections: [Correction]
  /// Costs of side branches, where some were asked for.
  public var branches: [BranchMeasurement]?

  /// Makes a profile.
  public init(
    name: String, simulated: Bool, key: Key, peaks: Peaks, usesLookup: Bool? = nil,
    workingSetBytes: Int, measurements: [Measurement], corrections: [Correction]
  ) {
    self.schemaVersion = Self.supportedSchemaVersion
    self.name = name
    self.simulated = simulated
    self.key = key
    self.peaks = peaks
    self.usesLookup = usesLookup
    self.workingSetBytes = workingSetBytes
    self.measurements = measurements
    self.corrections = corrections
  }

  /// The measurement for exactly this format, shape and batch, if there is one.
  public func measurement(_ format: WeightFormat, _ shape: MatrixShape, batch: Int) -> Measurement?
  {
    measurements.first { $0.format == format && $0.shape == shape && $0.batch == batch }
  }

  /// What this side branch adds to exactly this shape and batch, if it was measured.
  public func measurement(
    _ branch: SideBranch, _ shape: MatrixShape, batch: Int
  ) -> BranchMeasurement? {
    branches?.first { $0.branch == branch && $0.shape == shape && $0.batch == batch }
  }
}
