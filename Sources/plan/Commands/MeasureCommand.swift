import ArgumentParser
import BitplanCore
import BitplanPipeline

/// `plan measure`: what each choice costs in accuracy.
struct MeasureCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "measure",
    abstract: "Measure what every (operator, format) costs in accuracy.",
    discussion: """
      Gradients on the calibration text say how much an error at every output feature matters; \
      forward passes in which random masks choose what is quantized correct them by regression. \
      '--calibration self' needs no text: the model writes its own by seeded sampling. \
      Stopped or killed, it goes on where it was.
      """)

  @Argument(help: "A safetensors file, an index file, or the folder that holds either.")
  var model: String

  @Option(
    help: ArgumentHelp(
      "Text to measure on, or 'self' (default: calibration.txt beside the model).",
      valueName: "file"))
  var calibration: String?

  @Option(help: FormatList.help) var formats: FormatList?

  @Option(help: BranchList.help) var branches: BranchList?

  @Option(
    help: ArgumentHelp(
      """
      'salience': gradients, corrected by masked passes; 'masks': forward passes only; \
      'plain-masks': OHQ's masks, weights set to zero; 'pd-quant': one operator at a time, one format \
      a width; 'swap': one at a time in every format, slow and exact.
      """,
      valueName: "name"))
  var method = "salience"

  @Option(
    help: ArgumentHelp(
      """
      How codes are found: 'gptq', error feedback under the inputs' curvature, then descent; \
      'gptq-alone', without descent; 'rtn', the nearest code after a clip search; 'minmax', the \
      nearest code; 'billm', the same as 'gptq' but BiLLM's codes in bcq2_g128.
      """,
      valueName: "name"))
  var quantizer = "gptq"
  @Option(help: TransformSelection.help) var transforms = TransformSelection.standard

  @Option(help: ArgumentHelp("Seed of every random choice.", valueName: "n"))
  var seed: UInt64 = 1

  @Option(
    help: ArgumentHelp(
      "Where the sensitivity goes (default: MODEL.sensitivity.json here).", valueName: "file"))
  var out: String?

  @Flag(help: "Measure again although the file exists and fits.")
  var remeasure = false

  @OptionGroup var common: CommonOptions

  func run() throws {
    try runVerb {
      var request = MeasureRequest()
      request.calibration = calibration
      request.formats = formats?.formats
      request.branches = branches?.branches ?? []
      request.seed = seed
      request.method = method
      request.quantizer = quantizer
      request.transforms = transforms
      request.output = out
      request.remeasure = remeasure
      let stored = try common.workbench().measure(try ModelSource(path: model), request)
      if common.json { try printJSON(stored.table) } else { print(SensitivitySummary.text(stored)) }
    }
  }
}
