public import ArgumentParser
import BitplanCore
public import BitplanPipeline

/// `plan devices`: one model, several devices.
struct DevicesCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "devices",
    abstract: "Show how the plan changes from device to device, and why.",
    discussion: """
      Plans for every device within the same budget of size, each with a time limit that suits it: that \
      of the fastest plan of the size there, plus a little.

        plan devices model.safetensors --budget 4.2bits --device this --device sim:mixpe \
      --device sim:int8

      A device is a profile, a device file, sim:NAME (see 'plan profile --list-devices'), or 'this' \
      for this machine.
      """)

  @Argument(help: "A safetensors file, an index file, or the folder that holds either.")
  var model: String

  @Option(
    help: ArgumentHelp("A device to plan for; give at least two.", valueName: "device"))
  var device: [String] = []

  @Option(
    help: ArgumentHelp(
      "A limit that holds on every device; may be repeated.", valueName: "limit"),
    transform: Budget.argument)
  var budget: [Budget] = []

  @Option(help: ArgumentHelp("Which time to limit: prefill or decode.", valueName: "name"))
  var phase = DevicesRequest.Phase.prefill

  @Option(
    help: ArgumentHelp(
      "How much longer than the fastest plan of the size a plan may take: 0.02 is 2 %.",
      valueName: "share"))
  var slack = 0.02

  @Option(
    help: ArgumentHelp(
      "Sensitivity file (default: in this folder, made when missing).", valueName: "file"))
  var sensitivity: String?

  @Option(help: FormatList.help) var formats: FormatList?

  @Option(help: ArgumentHelp("Folder to write the plans to.", valueName: "folder"))
  var out: String?

  @OptionGroup var common: CommonOptions

  func validate() throws {
    guard device.count >= 2 else {
      throw ValidationError("Name at least two devices with --device.")
    }
    guard !budget.isEmpty else {
      throw ValidationError("Name at least one budget, such as --budget 4.2bits.")
    }
    guard (0...100).contains(slack) else {
      throw ValidationError("'--slack \(slack)' must lie in 0…100: 0.02 means 2 % longer.")
    }
  }

  func run() throws {
    try runVerb {
      var request = DevicesRequest(model: model, devices: device, budgets: budget)
      request.phase = phase
      request.slack = slack
      request.sensitivity = sensitivity
      request.formats = formats?.formats
      request.output = out
      let comparison = try common.workbench().compareDevices(request)
      if common.json { try printJSON(comparison) } else { print(comparison.text) }
    }
  }
}

extension DevicesRequest.Phase: ExpressibleByArgument {}
