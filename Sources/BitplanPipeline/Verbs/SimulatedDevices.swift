internal import BitplanCheckpoint
public import BitplanCore
internal import BitplanDevices
internal import BitplanEngine
internal import Foundation

/// Profiles that no stopwatch made: simulated devices, and tables from elsewhere.
extension Workbench {
  /// A device that comes with the program.
  public struct DeviceSummary: Hashable, Sendable, Codable {
    /// What `--device sim:NAME` takes.
    public let name: String
    /// One line for people.
    public let summary: String
  }

  /// The devices that come with the program, by name.
  public static var simulatedDevices: [DeviceSummary] {
    DeviceCatalog.devices.values.sorted { $0.name < $1.name }
      .map { DeviceSummary(name: $0.name, summary: $0.summary) }
  }

  /// The profile of a simulated device with everything that `source` needs in it.
  ///
  /// - Parameters:
  ///   - device: `sim:NAME` of a device that comes with the program, or the path of a device file.
  ///   - source: model whose shapes to simulate; a few square ones by default.
  ///   - formats: formats to simulate; all by default.
  ///   - branches: side branches to simulate.
  ///   - output: file to keep the profile in; in `$BITPLAN_HOME/Profiles` by default.
  public func simulatedProfile(
    device: String, for source: ModelSource?, formats: [WeightFormat]? = nil,
    branches: [SideBranch] = [], output: String? = nil
  ) throws(PipelineError) -> ProfileStore.Stored {
    let found = try Self.simulatedDevice(device)
    let shapes =
      source?.model.operators.filter(\.isMultiplied).map(\.shape)
      ?? [512, 1024, 2048].map { MatrixShape(outputFeatures: $0, inputFeatures: $0) }
    let formats = formats ?? WeightFormat.candidates
    // As large as the packed weights of a 4-bit plan, as measured profiles have it.
    let workingSet = shapes.reduce(0) { $0 + $1.weightCount / 2 }
    let profile: DeviceProfile
    do {
      progress.begin("simulate", total: Set(shapes).count * formats.count * 2)
      profile = try found.profile(
        shapes: shapes, formats: formats, branches: branches,
        batches: [1, PlanProblem.prefillTokens],
        workingSetBytes: workingSet
      ) { done, total in
        try cancellation.check()
        progress.advance(done, of: total)
      }
      progress.end("\(profile.measurements.count) times of \(found.name)")
      try profile.validate()
    } catch {
      throw PipelineError(wrapping: error)
    }
    let name = source.map { "\(profile.name)-\($0.checkpoint.name)" } ?? profile.name
    let file =
      output.map { URL(filePath: $0) }
      ?? profilesFolder.appending(path: "\(ReproduceCommands.fileName(name)).json")
    return try ProfileStore.write(profile, to: file)
  }

  /// Whether a `--device` text names something to simulate rather than a profile.
  static func isSimulated(_ text: String) -> Bool {
    if text.hasPrefix("sim:") { return true }
    guard let data = FileManager.default.contents(atPath: text), data.count < 1 << 20,
      let members = (try? JSONSerialization.jsonObject(with: data)) as? [String: Any]
    else { return false }
    return members["measurements"] == nil
      && (members["systolicArray"] != nil || members["cpu"] != nil)
  }

  /// The device that a `--device` text names.
  static func simulatedDevice(_ text: String) throws(PipelineError) -> SimulatedDevice {
    if text.hasPrefix("sim:") {
      let name = String(text.dropFirst(4))
      guard let device = DeviceCatalog.device(name) else {
        throw PipelineError(
          .missingInput,
          "There is no simulated device '\(name)'. There are: "
            + DeviceCatalog.devices.keys.sorted().joined(separator: ", ")
            + ". Or name a device file: --device FILE.json.")
      }
      return device
    }
    guard FileManager.default.fileExists(atPath: text) else {
      throw PipelineError(
        .missingInput,
        "There is no device file '\(text)'. 'plan profile --list-devices' lists the devices that come "
          + "with the program; name one as sim:NAME.")
    }
    do {
      let device = try ArtifactFile.read(
        SimulatedDevice.self, path: text,
        supportedSchemaVersion: SimulatedDevice.supportedSchemaVersion)
      try device.validate()
      return device
    } catch let error as SimulatedDeviceError {
      throw PipelineError(.invalidInput, "\(text): \(error)")
    } catch {
      throw PipelineError(wrapping: error)
    }
  }

  /// Makes a profile from a latency table (CSV) that another tool wrote.
  public func importedProfile(
    table path: String, name: String, output: String? = nil
  ) throws(PipelineError) -> ProfileStore.Stored {
    guard let data = FileManager.default.contents(atPath: path) else {
      throw PipelineError(
        .missingInput, "The latency table '\(path)' is missing or cannot be read.")
    }
    guard data.count <= 256 << 20, let text = String(data: data, encoding: .utf8) else {
      throw PipelineError(
        .invalidInput, "'\(path)' is not a latency table: write UTF-8 text of at most 256 MiB.")
    }
    let profile: DeviceProfile
    do {
      profile = LatencyTable.profile(name: name, try LatencyTable.parse(text))
      try profile.validate()
    } catch let error as LatencyTable.ParsingError {
      throw PipelineError(.invalidInput, "\(path): \(error)")
    } catch {
      throw PipelineError(.invalidInput, "\(path): \(error)")
    }
    let file =
      output.map { URL(filePath: $0) }
      ?? profilesFolder.appending(path: "\(ReproduceCommands.fileName(name)).json")
    return try ProfileStore.write(profile, to: file)
  }

  /// Writes a profile's times and energies as a latency table (CSV).
  public static func export(
    _ profile: DeviceProfile, toTable path: String
  ) throws(PipelineError) {
    do {
      try ArtifactFile.write(text: LatencyTable.text(profile.measurements), path: path)
    } catch {
      throw PipelineError(.cannotWrite, error.description)
    }
  }
}
