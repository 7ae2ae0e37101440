internal import BitplanCheckpoint
public import BitplanCore
internal import BitplanDevices
internal import BitplanEngine
internal import BitplanSearch
internal import BitplanSolver
internal import Foundation

/// What `plan devices` is asked.
public struct DevicesRequest: Sendable {
  /// Which time is limited.
  public enum Phase: String, Sendable, CaseIterable {
    /// One token after the other.
    case decode
    /// The whole prompt at once.
    case prefill
  }

  /// Path of the checkpoint.
  public var model: String
  /// Profiles, device files, `sim:NAME`, or `this` for this machine's own profile.
  public var devices: [String]
  /// Limits that hold on every device; at least one.
  public var budgets: [Budget]
  /// Which time is limited on every device.
  public var phase = Phase.prefill
  /// How much longer than the fastest plan within the budgets a plan may take, as a share.
  public var slack = 0.02
  /// Sensitivity file; in this folder by default.
  public var sensitivity: String?
  /// Candidate formats; all by default.
  public var formats: [WeightFormat]?
  /// Folder for the plans; none are written by default.
  public var output: String?

  /// A request with the defaults.
  public init(model: String, devices: [String], budgets: [Budget]) {
    self.model = model
    self.devices = devices
    self.budgets = budgets
  }
}

/// `plan devices`: plans for several devices at the same size.
extension Workbench {
  /// Makes a plan for every device and says where and why they differ.
  ///
  /// A size alone gives every device the same plan, so each also gets a time limit of its own: that
  /// of the fastest plan of the size there, plus ``DevicesRequest/slack``.
  public func compareDevices(
    _ request: DevicesRequest
  ) throws(PipelineError) -> DeviceComparison {
    guard request.devices.count >= 2 else {
      throw PipelineError(.invalidInput, "Name at least two devices with --device.")
    }
    if let folder = request.output {
      do {
        try FileManager.default.createDirectory(
          at: URL(filePath: folder), withIntermediateDirectories: true)
      } catch {
        throw PipelineError(
          .cannotWrite, "The folder '\(folder)' cannot be made: \(error.localizedDescription).")
      }
    }
    let source = try ModelSource(path: request.model)
    var measure = PlanRequest(model: request.model, budgets: request.budgets)
    measure.sensitivity = request.sensitivity
    measure.formats = request.formats
    let table = try sensitivity(
      for: measure, source,
      beside: URL(filePath: FileManager.default.currentDirectoryPath).appending(path: "x"))
    var found: [DeviceComparison.Found] = []
    for device in request.devices {
      try DeviceComparison.check(cancellation)
      let profile = try self.profile(named: device, for: source, formats: request.formats)
      var inputs = PlanSearch.Inputs(
        sensitivity: table.table, sensitivitySHA256: table.sha256, profile: profile,
        architectureSHA256: source.model.architectureSHA256, budgets: request.budgets)
      inputs.formats = request.formats
      inputs.frontPoints = 0
      progress.begin("solve for \(profile.profile.name)", total: 1)
      let result = try Self.plans(inputs, request)
      progress.end("done")
      found.append(
        DeviceComparison.Found(
          profile: profile.profile, plan: result.plan, fastestSeconds: result.fastest,
          freeSeconds: result.free))
      if let folder = request.output {
        let file = URL(filePath: folder).appending(
          path: "\(ReproduceCommands.fileName(profile.profile.name)).plan.json")
        try ArtifactOutput.write(result.plan, to: file)
      }
    }
    return DeviceComparison(
      found, operators: source.model.operators, phase: request.phase, slack: request.slack)
  }

  /// The profile that a `--device` text names.
  func profile(
    named text: String, for source: ModelSource, formats: [WeightFormat]?
  ) throws(PipelineError) -> ProfileStore.Stored {
    if text == "this" { return try profile(for: source, formats: formats) }
    if Self.isSimulated(text) {
      return try simulatedProfile(device: text, for: source, formats: formats)
    }
    return try ProfileStore.read(URL(filePath: text))
  }

  private static func plans(
    _ inputs: PlanSearch.Inputs, _ request: DevicesRequest
  ) throws(PipelineError) -> (plan: Plan, fastest: Double, free: Double) {
    let kind: Budget.Kind =
      request.phase == .decode ? .decodeSecondsPerToken : .prefillSeconds
    let free = try PlanSearch.run(inputs).plan.predicted
    let fastest = try PlanSearch.smallest(kind, inputs)
    let freeSeconds =
      (request.phase == .decode ? free.decodeSecondsPerToken : free.prefillSeconds) ?? fastest
    var limited = inputs
    // A millionth more, so that the fastest plan itself fits when there is no slack.
    limited.budgets.append(Budget(kind: kind, limit: fastest * (1 + request.slack) * (1 + 1e-6)))
    return (try PlanSearch.run(limited).plan, fastest, freeSeconds)
  }
}

extension PlanSearch {
  /// The least of one kind of cost that any plan within the budgets has, in the budget's unit.
  static func smallest(
    _ kind: Budget.Kind, _ inputs: Inputs
  ) throws(PipelineError) -> Double {
    let problem = try PlanProblem(
      sensitivity: inputs.sensitivity, profile: inputs.profile?.profile, formats: inputs.formats,
      architectureSHA256: inputs.architectureSHA256, granularity: inputs.granularity)
    // Any loss will do: no plan has more than the sum of the largest.
    let most = problem.candidates.reduce(problem.commonLoss) { sum, row in
      sum + (row.map(\.loss).max() ?? 0)
    }
    var options = SearchOptions()
    options.timeLimitSeconds = inputs.timeLimitSeconds
    options.relativeGap = 1e-5
    return try problem.solve(
      inputs.budgets, goal: Plan.Goal(minimized: kind, maximumLoss: 1.01 * most + 1e-9),
      options: options
    ).certificate.objective
  }
}
