internal import BitplanCheckpoint
public import BitplanCore
public import Foundation

/// Device profiles as files.
public enum ProfileStore {
  /// A profile and the file it came from.
  public struct Stored: Sendable {
    /// The profile.
    public let profile: DeviceProfile
    /// Its file.
    public let file: URL
    /// SHA-256 of the file.
    public let sha256: String

    /// Names a profile by its file and hash.
    public init(profile: DeviceProfile, file: URL, sha256: String) {
      self.profile = profile
      self.file = file
      self.sha256 = sha256
    }
  }

  /// Reads and checks a profile.
  public static func read(_ file: URL) throws(PipelineError) -> Stored {
    guard FileManager.default.fileExists(atPath: file.path) else {
      throw PipelineError(
        .missingInput, "There is no profile '\(file.path)'. Make one with 'plan profile'.")
    }
    do {
      let profile = try ArtifactFile.read(
        DeviceProfile.self, path: file.path,
        supportedSchemaVersion: DeviceProfile.supportedSchemaVersion)
      try profile.validate()
      return Stored(profile: profile, file: file, sha256: try ArtifactFile.sha256(path: file.path))
    } catch let error as ArtifactError {
      throw PipelineError(.invalidInput, "\(file.lastPathComponent): \(error)")
    } catch {
      throw PipelineError(wrapping: error)
    }
  }

  /// Writes a profile.
  public static func write(_ profile: DeviceProfile, to file: URL) throws(PipelineError) -> Stored {
    do {
      try FileManager.default.createDirectory(
        at: file.deletingLastPathComponent(), withIntermediateDirectories: true)
    } catch {
      throw PipelineError(
        .cannotWrite,
        "The folder '\(file.deletingLastPathComponent().path)' cannot be made: "
          + "\(error.localizedDescription). Set BITPLAN_HOME to a folder you can write to.")
    }
    try ArtifactOutput.write(profile, to: file)
    return try read(file)
  }

  /// Refuses a measured profile that was made by another machine, thread count or kernel build.
  public static func requireMatch(_ stored: Stored, key: DeviceProfile.Key) throws(PipelineError) {
    let profile = stored.profile
    guard !profile.simulated, profile.key != key else { return }
    let differences = [
      ("CPU", profile.key.cpuModel, key.cpuModel),
      ("instruction set", profile.key.instructionSet, key.instructionSet),
      ("thread count", "\(profile.key.threadCount)", "\(key.threadCount)"),
      ("kernel build", profile.key.kernelBuild, key.kernelBuild),
    ].filter { $0.1 != $0.2 }.map { "\($0.0) '\($0.1)' instead of '\($0.2)'" }
    throw PipelineError(
      .stale,
      "The profile '\(stored.file.lastPathComponent)' was measured with "
        + differences.joined(separator: " and ")
        + ". Run 'plan profile' here, or pass --foreign-profile to plan for that device.")
  }
}

/// Writing artifacts with the pipeline's errors.
enum ArtifactOutput {
  static func write(_ value: some Encodable, to file: URL) throws(PipelineError) {
    do {
      try ArtifactFile.write(value, path: file.path)
    } catch {
      throw PipelineError(.cannotWrite, error.description)
    }
  }

  /// A sensitivity, one operator's losses at a time: the whole table as text takes as much memory
  /// as a small model.
  static func write(_ table: SensitivityTable, to file: URL) throws(PipelineError) {
    var frame = table
    frame.rows = []
    do {
      try ArtifactFile.write(frame, list: "rows", of: table.rows, path: file.path)
    } catch {
      throw PipelineError(.cannotWrite, error.description)
    }
  }
}
