import ArgumentParser
import BitplanCore
import BitplanPipeline
import Foundation

/// `plan validate`: execute the plan and compare with what it predicted.
struct ValidateCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "validate",
    abstract: "Execute a plan on held-out text: predicted beside measured.",
    discussion: """
      Measures stored bytes, decode and prefill time, loss and perplexity, and compares the loss \
      with every uniform format of the same or smaller size. Exit code 4 when a tolerance is broken.
      """)

  @Argument(
    help:
      "The float checkpoint, which is also the reference; or a packed one, for bytes, times and perplexity alone."
  )
  var model: String

  @Option(help: ArgumentHelp("The plan.", valueName: "file"))
  var plan: String

  @Option(
    help: ArgumentHelp(
      "Packed checkpoint to execute (default: packed in memory).", valueName: "file"))
  var packed: String?

  @Option(
    help: ArgumentHelp(
      "Held-out text (default: evaluation.txt beside the model).", valueName: "file"))
  var evaluation: String?

  @Option(
    help: ArgumentHelp(
      "Text for activation statistics (default: calibration.txt beside the model).",
      valueName: "file"))
  var calibration: String?

  @Option(
    help: ArgumentHelp(
      "The device profile that the plan's times come from (default: looked for among this machine's).",
      valueName: "file"))
  var profile: String?

  @Option(help: ArgumentHelp("Windows of held-out text.", valueName: "n"))
  var windows = 16

  @Option(
    help: ArgumentHelp(
      "Largest relative deviation of measured times at the profile's speed.", valueName: "share"))
  var timeTolerance = 0.25

  @Option(
    help: ArgumentHelp("Largest ratio between measured and predicted loss.", valueName: "ratio"))
  var lossTolerance = 2.0

  @Option(
    help: ArgumentHelp(
      "How keys and values are kept: float, int8 or int4 (default: as the plan says).",
      valueName: "name"))
  var kvCache: KeyValueFormat?

  @Flag(inversion: .prefixedNo, help: "Compare with uniform formats of the same or smaller size.")
  var uniform = true

  @Flag(help: "Write the measured values into the plan file.")
  var record = false

  @OptionGroup var common: CommonOptions

  func validate() throws {
    guard windows > 0 else { throw ValidationError("'--windows \(windows)' must be positive.") }
    guard timeTolerance > 0 else { throw ValidationError("'--time-tolerance' must be positive.") }
    guard lossTolerance >= 1 else {
      throw ValidationError("'--loss-tolerance' must be at least 1.")
    }
  }

  func run() throws {
    try runVerb {
      var request = ValidateRequest(planFile: plan)
      request.packed = packed
      request.evaluation = evaluation
      request.calibration = calibration
      request.profile = profile
      request.windowCount = windows
      request.timeTolerance = timeTolerance
      request.lossTolerance = lossTolerance
      request.comparesUniform = uniform
      request.record = record
      request.keyValueCache = kvCache
      let workbench = try common.workbench()
      let result =
        try Workbench.isPacked(model)
        ? try workbench.validate(packed: model, request)
        : try workbench.validate(try ModelSource(path: model), request)
      if common.json { try printJSON(result) } else { print(result.text) }
      fflush(nil)
      if let broken = result.failure { throw broken }
    }
  }
}
