/// Why an artifact cannot be used: what is wrong, where, and what to do.
public struct ArtifactError: Error, Hashable, Sendable {
  /// The kinds of artifact.
  public enum Artifact: String, Hashable, Sendable {
    /// A ``Plan``.
    case plan
    /// A ``DeviceProfile``.
    case deviceProfile = "device profile"
    /// A ``SensitivityTable``.
    case sensitivityTable = "sensitivity table"
    /// A ``Front``.
    case front
  }

  /// What was being read.
  public let artifact: Artifact
  /// The place in the file, such as `operators[3].segments[0].rows`.
  public let path: String
  /// What is wrong there, with the values.
  public let problem: String

  /// Makes an error.
  public init(_ artifact: Artifact, at path: String, _ problem: String) {
    self.artifact = artifact
    self.path = path
    self.problem = problem
  }
}

extension ArtifactError: CustomStringConvertible {
  /// What happened, then what to do about it.
  public var description: String {
    let remedy =
      switch artifact {
      case .plan: "Make the plan again with 'plan search'."
      case .front: "Make the front again with 'plan search --pareto'."
      case .deviceProfile: "Measure the device again with 'plan profile'."
      case .sensitivityTable: "Measure the model again with 'plan measure'."
      }
    return "The \(artifact.rawValue) is not usable: '\(path)' \(problem). \(remedy)"
  }
}

/// The part of every artifact that says how to read the rest. Decode it first: a file of a newer
/// version may lack what this version asks for.
public struct ArtifactHeader: Hashable, Sendable, Codable {
  /// Major version of the file's layout.
  public let schemaVersion: Int

  /// Makes a header.
  public init(schemaVersion: Int) { self.schemaVersion = schemaVersion }

  /// - Throws: ``ArtifactError`` where the version is not the one supported.
  public func validate(_ artifact: ArtifactError.Artifact) throws(ArtifactError) {
    let supported =
      switch artifact {
      case .plan: Plan.supportedSchemaVersion
      case .front: Front.supportedSchemaVersion
      case .deviceProfile: DeviceProfile.supportedSchemaVersion
      case .sensitivityTable: SensitivityTable.supportedSchemaVersion
      }
    guard (1...supported).contains(schemaVersion) else {
      throw ArtifactError(
        artifact, at: "schemaVersion",
        "is \(schemaVersion), and \(supported) is the highest that this version of Bitplan reads")
    }
  }
}
