internal import BitplanCheckpoint
internal import BitplanCore
internal import BitplanDevices
internal import BitplanKernels
internal import Foundation

/// How well a simulated CPU predicts the profiles that it was fitted to.
public struct CalibrationReport: Codable, Hashable, Sendable {
  /// One operator shape at one batch.
  public struct Row: Codable, Hashable, Sendable {
    /// Rows of the weight matrix.
    public let outputFeatures: Int
    /// Columns of the weight matrix.
    public let inputFeatures: Int
    /// Tokens at once.
    public let batch: Int
    /// Formats measured.
    public let formatCount: Int
    /// Median of predicted ÷ measured over the formats, fitted to everything.
    public let fittedRatio: Double
    /// The same by a fit that never saw this shape.
    public let heldOutRatio: Double
  }

  /// Median of |predicted ÷ measured − 1| at one batch.
  public struct ErrorSummary: Codable, Hashable, Sendable {
    /// Tokens at once.
    public let batch: Int
    /// Measurements.
    public let count: Int
    /// Fitted to everything.
    public let fittedMedianError: Double
    /// Every shape predicted by a fit that never saw it.
    public let heldOutMedianError: Double
  }

  /// The CPU's own name.
  public let cpuModel: String
  /// The device file.
  public let file: String
  /// One for each batch.
  public let errors: [ErrorSummary]
  /// By batch, then shape.
  public let rows: [Row]

  /// The tables for people.
  public var text: String {
    var lines = ["Fitted a roofline model of \(cpuModel).", ""]
    for error in errors {
      lines.append(
        "\(error.batch == 1 ? "decode" : "prefill, \(error.batch) tokens"): median error "
          + "\(percent(error.fittedMedianError)) over \(error.count) timings; "
          + "\(percent(error.heldOutMedianError)) for shapes that were left out of the fit")
    }
    var table = TextTable([.left, .right, .right, .right])
    table.add(["operator", "batch", "predicted ÷ measured", "left out of the fit"])
    for row in rows {
      table.add([
        "\(row.outputFeatures)×\(row.inputFeatures)", "\(row.batch)",
        String(format: "%.2f", row.fittedRatio), String(format: "%.2f", row.heldOutRatio),
      ])
    }
    lines.append("")
    lines += table.lines(width: 100)
    lines.append("Written to \(file)")
    return lines.joined(separator: "\n")
  }

  /// Every figure, in the form that `Results` keeps.
  public var records: [ResultRecord] {
    var records: [ResultRecord] = []
    func add(_ metric: String, _ value: Double, _ conditions: [String: String]) {
      records.append(
        ResultRecord(
          metric: metric, value: value, unit: "1",
          conditions: conditions.merging(["cpu": cpuModel]) { first, _ in first }, reference: [:]))
    }
    for error in errors {
      let conditions = ["batch": "\(error.batch)", "timings": "\(error.count)"]
      add("medianRelativeError", error.fittedMedianError, conditions)
      add("medianRelativeErrorOfShapesLeftOut", error.heldOutMedianError, conditions)
    }
    for row in rows {
      let conditions = [
        "batch": "\(row.batch)", "formats": "\(row.formatCount)",
        "shape": "\(row.outputFeatures)x\(row.inputFeatures)",
      ]
      add("predictedOverMeasured", row.fittedRatio, conditions)
      add("predictedOverMeasuredLeftOut", row.heldOutRatio, conditions)
    }
    return records
  }

  private func percent(_ share: Double) -> String { String(format: "%.1f %%", share * 100) }
}

/// `plan profile --calibrate`: from measured profiles to a device file.
extension Workbench {
  /// Fits a roofline model to measured profiles of this machine and writes it as a device file.
  ///
  /// - Parameters:
  ///   - paths: measured profiles, all of this machine with these kernels and threads.
  ///   - name: name of the device; a–z, 0–9 and dashes.
  ///   - output: the device file.
  public func calibrate(
    profiles paths: [String], name: String, output: String
  ) throws(PipelineError) -> CalibrationReport {
    var profiles: [DeviceProfile] = []
    for path in paths {
      let stored = try ProfileStore.read(URL(filePath: path))
      guard !stored.profile.simulated else {
        throw PipelineError(
          .invalidInput,
          "'\(path)' is simulated. Fit to measured profiles: 'plan profile' makes them.")
      }
      try ProfileStore.requireMatch(stored, key: CPUIdentity.key(context))
      profiles.append(stored.profile)
    }
    let machine = RooflineCalibration.Machine.current(
      instructionSet: context.kernels.instructionSet, threadCount: context.pool.threadCount)
    guard let calibration = RooflineCalibration(machine: machine, profiles: profiles) else {
      throw PipelineError(.invalidInput, "The profiles hold no timings. Run 'plan profile' first.")
    }
    let device = SimulatedDevice(
      name: name, summary: "\(CPUIdentity.model), \(context.pool.threadCount) threads, fitted",
      source: "Fitted to measured profiles by 'plan profile --calibrate'.", cpu: calibration.cpu)
    do {
      try device.validate()
      try ArtifactFile.write(device, path: output)
    } catch let error as SimulatedDeviceError {
      throw PipelineError(.invalidInput, error.description)
    } catch let error as CheckpointError {
      throw PipelineError(.cannotWrite, error.description)
    } catch {
      throw PipelineError(wrapping: error)
    }
    return Self.report(calibration, file: output)
  }

  private static func report(
    _ calibration: RooflineCalibration, file: String
  ) -> CalibrationReport {
    struct Place: Hashable {
      let shape: MatrixShape
      let batch: Int
    }
    let groups = Dictionary(grouping: calibration.comparisons) {
      Place(shape: $0.measurement.shape, batch: $0.measurement.batch)
    }
    func ratio(
      _ group: [RooflineCalibration.Comparison],
      _ seconds: (RooflineCalibration.Comparison) -> Double
    ) -> Double {
      TimingStatistics(group.map { seconds($0) / $0.measurement.seconds }).median
    }
    let rows = groups.map { place, group in
      CalibrationReport.Row(
        outputFeatures: place.shape.outputFeatures, inputFeatures: place.shape.inputFeatures,
        batch: place.batch, formatCount: group.count,
        fittedRatio: ratio(group) { $0.fittedSeconds },
        heldOutRatio: ratio(group) { $0.heldOutSeconds })
    }
    let batches = Set(groups.keys.map(\.batch)).sorted()
    return CalibrationReport(
      cpuModel: CPUIdentity.model, file: file,
      errors: batches.compactMap { batch in
        guard let fitted = calibration.medianError(batch: batch, heldOut: false),
          let heldOut = calibration.medianError(batch: batch, heldOut: true)
        else { return nil }
        return CalibrationReport.ErrorSummary(
          batch: batch,
          count: calibration.comparisons.filter { $0.measurement.batch == batch }.count,
          fittedMedianError: fitted, heldOutMedianError: heldOut)
      },
      rows: rows.sorted {
        ($0.batch, $0.outputFeatures, $0.inputFeatures)
          < ($1.batch, $1.outputFeatures, $1.inputFeatures)
      })
  }
}
