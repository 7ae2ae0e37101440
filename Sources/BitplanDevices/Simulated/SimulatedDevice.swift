/// A device that is not on the desk: a file that says how it computes, and from which times and
/// energies are simulated.
///
/// The file names exactly one kind of hardware. Every key carries its unit.
public struct SimulatedDevice: Hashable, Sendable, Codable {
  /// The major version this code reads and writes.
  public static let supportedSchemaVersion = 1

  /// Major version of the file's layout.
  public var schemaVersion: Int
  /// A short name for files and the command line, such as `mixpe-w4a8`.
  public var name: String
  /// One line for people.
  public var summary: String
  /// Where the numbers come from.
  public var source: String
  /// An accelerator with a systolic array.
  public var systolicArray: SystolicArray?
  /// A CPU described by its ceilings.
  public var cpu: RooflineCPU?

  /// Makes a device; exactly one of `systolicArray` and `cpu` must be given to be valid.
  public init(
    name: String, summary: String, source: String, systolicArray: SystolicArray? = nil,
    cpu: RooflineCPU? = nil
  ) {
    self.schemaVersion = Self.supportedSchemaVersion
    self.name = name
    self.summary = summary
    self.source = source
    self.systolicArray = systolicArray
    self.cpu = cpu
  }

  /// What one multiplication costs.
  public struct Cost: Hashable, Sendable {
    /// Seconds of one multiplication.
    public var seconds: Double
    /// Joules of one multiplication; `nil` where the device file states no energies.
    public var joules: Double?

    /// Makes a cost.
    public init(seconds: Double, joules: Double?) {
      self.seconds = seconds
      self.joules = joules
    }
  }
}

/// Why a device file cannot be used.
public struct SimulatedDeviceError: Error, Hashable, Sendable, CustomStringConvertible {
  /// The place in the file, such as `systolicArray.rows`.
  public let path: String
  /// What is wrong there, with the values.
  public let problem: String

  /// Makes an error.
  public init(_ path: String, _ problem: String) {
    self.path = path
    self.problem = problem
  }

  /// What happened, then what to do about it.
  public var description: String {
    "The device file is not usable: '\(path)' \(problem). Correct the file; "
      + "Documentation/SimulatedDevices.md describes every key."
  }
}

/// Checks of device files. Each throws with the place it was given.
enum DeviceChecks {
  static func count(
    _ value: Int, in range: ClosedRange<Int>, _ path: String
  ) throws(SimulatedDeviceError) {
    guard range.contains(value) else {
      throw SimulatedDeviceError(
        path, "is \(value), and must lie in \(range.lowerBound)…\(range.upperBound)")
    }
  }

  static func positive(_ value: Double, _ path: String) throws(SimulatedDeviceError) {
    guard value.isFinite, value > 0 else {
      throw SimulatedDeviceError(path, "is \(value), and must be finite and above zero")
    }
  }

  static func amount(_ value: Double, _ path: String) throws(SimulatedDeviceError) {
    guard value.isFinite, value >= 0 else {
      throw SimulatedDeviceError(path, "is \(value), and must be finite and not negative")
    }
  }
}

extension SimulatedDevice {
  /// Checks that every number is in range.
  ///
  /// - Throws: ``SimulatedDeviceError`` for the first thing that is wrong.
  public func validate() throws(SimulatedDeviceError) {
    guard schemaVersion == Self.supportedSchemaVersion else {
      throw SimulatedDeviceError(
        "schemaVersion", "is \(schemaVersion), and must be \(Self.supportedSchemaVersion)")
    }
    let allowed = name.utf8.allSatisfy {
      (UInt8(ascii: "a")...UInt8(ascii: "z")).contains($0)
        || (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) || $0 == UInt8(ascii: "-")
    }
    guard !name.isEmpty, name.utf8.count <= 64, allowed else {
      throw SimulatedDeviceError(
        "name", "is '\(name.prefix(80))', and must be 1…64 of a–z, 0–9 and '-'")
    }
    guard !summary.isEmpty else { throw SimulatedDeviceError("summary", "is empty") }
    guard !source.isEmpty else { throw SimulatedDeviceError("source", "is empty") }
    switch (systolicArray, cpu) {
    case (let array?, nil): try array.validate()
    case (nil, let cpu?): try cpu.validate()
    default:
      throw SimulatedDeviceError(
        "systolicArray", "and 'cpu' are both given or both missing, and exactly one must be there")
    }
  }
}
