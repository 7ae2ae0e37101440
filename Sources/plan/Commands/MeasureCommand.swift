import ArgumentParser
import BitplanCore
import BitplanPipeline

/// `plan measure`: what each choice costs in accuracy.
struct MeasureCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "measure",
    abstract: "Measure what every (operator, format) costs in accuracy.",
    discussion: """
      Forward passes only: random masks choose which operators are quantized in a pass, and a \
      regression gives each operator's share. Stopped or killed, it goes on where it was.
      """)

  @Argument(help: "A safetensors file, an index file, or the folder that holds either.")
  var model: String

  @Option(help: ArgumentHelp("Text to measure on (default: calibration.txt beside the model).", valueName: "file"))
  var calibration: String?

  @Option(help: FormatList.help) var formats: FormatList?

  @Option(help: ArgumentHelp("Seed of every random choice.", valueName: "n"))
  var seed: UInt64 = 1

  @Option(help: ArgumentHelp("Where the sensitivity goes (default: MODEL.sensitivity.json here).", valueName: "file"))
  var out: String?

  @Flag(help: "Measure again although the file exists and fits.")
  var remeasure = false

  @OptionGroup var common: CommonOptions

  func run() throws {
    try runVerb {
      var request = MeasureRequest()
      request.calibration = calibration
      request.formats = formats?.formats
      request.seed = seed
      request.output = out
      request.remeasure = remeasure
      let stored = try common.workbench().measure(try ModelSource(path: model), request)
      if common.json { try printJSON(stored.table) } else { print(SensitivitySummary.text(stored)) }
    }
  }
}
