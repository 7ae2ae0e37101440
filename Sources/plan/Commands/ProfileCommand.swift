import ArgumentParser
import BitplanCore
import BitplanPipeline

/// `plan profile`: what a machine costs: this one, a simulated one, or one that another tool timed.
struct ProfileCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "profile",
    abstract: "Measure this machine, or simulate another: every format at every shape of a model.",
    discussion: """
      The profile is kept under $BITPLAN_HOME/Profiles and reused until the CPU, the thread count, \
      the kernels or the needed shapes change. Run it while nothing else keeps the machine busy.

        plan profile --for model.safetensors                       # this machine
        plan profile --shapes config.json                          # a model that is not here yet
        plan profile --device sim:mixpe --for model.safetensors    # a simulated device
        plan profile --device phone.json --for model.safetensors   # a device file of your own
        plan profile --import latencies.csv --name phone           # numbers from another tool
      """)

  @Option(
    name: .customLong("for"),
    help: ArgumentHelp(
      "Model whose shapes to time (default: a few general ones).", valueName: "model"))
  var model: String?

  @Option(
    help: ArgumentHelp(
      "Time the shapes of a model without its weights: its config.json, or the folder that holds it.",
      valueName: "config"))
  var shapes: String?

  @Option(
    help: ArgumentHelp(
      "Simulate sim:NAME or a device file instead of measuring this machine.", valueName: "device"))
  var device: String?

  @Flag(help: "List the devices that come with the program.")
  var listDevices = false

  @Option(
    name: .customLong("import"),
    help: ArgumentHelp(
      "Make a profile of a latency table: output_features,input_features,format,batch,seconds,joules.",
      valueName: "csv"))
  var table: String?

  @Option(
    help: ArgumentHelp("Write the profile's numbers as a latency table too.", valueName: "csv"))
  var export: String?

  @Option(
    help: ArgumentHelp(
      "Fit a device file to measured profiles of this machine; may be repeated.",
      valueName: "profile"))
  var calibrate: [String] = []

  @Option(help: ArgumentHelp("Name for --import and --calibrate.", valueName: "name"))
  var name: String?

  @Option(help: FormatList.help) var formats: FormatList?

  @Option(help: BranchList.help) var branches: BranchList?

  @Option(
    help: ArgumentHelp(
      "Where the profile goes (default: $BITPLAN_HOME/Profiles/NAME.json).", valueName: "file"))
  var out: String?

  @Flag(help: "Measure everything again, even what the profile already has.")
  var refresh = false

  @OptionGroup var common: CommonOptions

  func validate() throws {
    let sources = [device != nil, table != nil, !calibrate.isEmpty, listDevices].filter { $0 }
    guard sources.count <= 1 else {
      throw ValidationError("Choose one of --device, --import, --calibrate and --list-devices.")
    }
    let others = [model != nil, device != nil, table != nil, !calibrate.isEmpty, listDevices]
    guard shapes == nil || !others.contains(true) else {
      throw ValidationError(
        "--shapes times this machine without a model: leave --for and the other sources out.")
    }
    if table != nil || !calibrate.isEmpty {
      guard let name, !name.isEmpty else {
        throw ValidationError("Name the device with --name.")
      }
    }
    if !calibrate.isEmpty, out == nil {
      throw ValidationError("Say where the device file goes with --out.")
    }
  }

  func run() throws {
    try runVerb {
      if listDevices { return try list() }
      let workbench = try common.workbench()
      if !calibrate.isEmpty {
        let report = try workbench.calibrate(
          profiles: calibrate, name: name ?? "", output: out ?? "")
        if common.json { try printJSON(report.records) } else { print(report.text) }
        return
      }
      let stored = try profile(workbench)
      if let export { try Workbench.export(stored.profile, toTable: export) }
      if common.json { try printJSON(stored.profile) } else { print(ProfileSummary.text(stored)) }
    }
  }

  private func profile(_ workbench: Workbench) throws -> ProfileStore.Stored {
    if let table {
      return try workbench.importedProfile(table: table, name: name ?? "", output: out)
    }
    if let shapes {
      return try workbench.profile(
        forConfiguration: shapes, formats: formats?.formats,
        branches: branches?.branches ?? [], output: out, refresh: refresh)
    }
    let source = try model.map { try ModelSource(path: $0) }
    if let device {
      return try workbench.simulatedProfile(
        device: device, for: source, formats: formats?.formats,
        branches: branches?.branches ?? [], output: out)
    }
    guard let source else {
      return try workbench.profile(
        formats: formats?.formats,
        branches: branches?.branches ?? [], output: out, refresh: refresh)
    }
    return try workbench.profile(
      for: source, formats: formats?.formats,
      branches: branches?.branches ?? [], output: out, refresh: refresh)
  }

  private func list() throws {
    let devices = Workbench.simulatedDevices
    if common.json { return try printJSON(devices) }
    for device in devices { print("sim:\(device.name)\n    \(device.summary)") }
  }
}
