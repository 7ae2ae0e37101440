import ArgumentParser
import BitplanPipeline

/// `plan pack`: from float weights to a packed checkpoint.
struct PackCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "pack",
    abstract: "Quantize a checkpoint as its plan says, into one packed file.",
    discussion:
      "The packed file holds weights, plan and configuration; 'plan run' maps it into memory.")

  @Argument(help: "The float checkpoint that the plan was made for.")
  var model: String

  @Option(help: ArgumentHelp("The plan.", valueName: "file"))
  var plan: String

  @Option(
    help: ArgumentHelp(
      "Text for activation statistics (default: calibration.txt beside the model).",
      valueName: "file"))
  var calibration: String?

  @Option(help: ArgumentHelp("Where the packed checkpoint goes.", valueName: "file"))
  var out = "packed.safetensors"

  @OptionGroup var common: CommonOptions

  func run() throws {
    try runVerb {
      let result = try common.workbench().pack(
        try ModelSource(path: model), planFile: plan, calibration: calibration, output: out)
      if common.json { try printJSON(result) } else { print(result.summary) }
    }
  }
}
