public import ArgumentParser
import BitplanCore
public import BitplanPipeline
import Foundation

/// `plan [search]`: budgets in, a plan out.
struct SearchCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "search",
    abstract: "Choose a format for every operator within the budgets, and write a plan.",
    discussion: """
      Profiles this machine and measures the model first where no fresh profile or sensitivity \
      exists. Several budgets hold at once:

        plan model.safetensors --budget 4.2bits
        plan model.safetensors --budget 6MiB --budget 0.8ms/token --budget 200ms/prefill

      Bits count everything that is stored: codes, scales, zero points and padding.
      """)

  @Argument(help: "A safetensors file, an index file, or the folder that holds either.")
  var model: String

  @Option(
    help: ArgumentHelp(
      "A hard limit with its unit; may be repeated: 4.2bits, 6MiB, 0.8ms/token, 200ms/prefill, 30mJ/token.",
      valueName: "limit"),
    transform: Budget.argument)
  var budget: [Budget] = []

  @Option(
    name: [.customLong("profile"), .customLong("device")],
    help: ArgumentHelp(
      "Device profile, device file, or sim:NAME (default: this machine, profiled when needed).",
      valueName: "file"))
  var profile: String?

  @Flag(help: "Accept a --profile of another machine, to plan for that one.")
  var foreignProfile = false

  @Option(
    help: ArgumentHelp(
      "Sensitivity file (default: beside the plan, made when missing).", valueName: "file"))
  var sensitivity: String?

  @Flag(help: "Measure the model again although a sensitivity file exists.")
  var remeasure = false

  @Option(
    help: ArgumentHelp(
      "Text to measure on (default: calibration.txt beside the model).", valueName: "file"))
  var calibration: String?

  @Option(help: FormatList.help) var formats: FormatList?

  @Option(
    help: ArgumentHelp(
      "'feature': rows of one operator may take different formats; 'layer': one format each.",
      valueName: "name"))
  var granularity = Granularity.feature

  @Option(
    help: ArgumentHelp(
      "Where the plan goes (default: MODEL.plan.json in this folder).", valueName: "file"))
  var out: String?

  @Option(help: ArgumentHelp("Longest time to search for, in seconds.", valueName: "s"))
  var timeLimit = 10.0

  @OptionGroup var common: CommonOptions

  func validate() throws {
    guard !budget.isEmpty else {
      throw ValidationError("Name at least one budget, such as --budget 4.2bits.")
    }
    guard timeLimit > 0, timeLimit.isFinite else {
      throw ValidationError("'--time-limit \(timeLimit)' must be a positive number of seconds.")
    }
  }

  func run() throws {
    try runVerb {
      var request = PlanRequest(model: model, budgets: budget)
      request.profile = profile
      request.acceptForeignProfile = foreignProfile
      request.sensitivity = sensitivity
      request.remeasure = remeasure
      request.calibration = calibration
      request.formats = formats?.formats
      request.output = out
      request.granularity = granularity
      request.timeLimitSeconds = timeLimit
      let outcome = try common.workbench().makePlan(request)
      if common.json {
        try printJSON(outcome.plan)
      } else {
        print(outcome.summary)
      }
    }
  }
}

extension Granularity: ExpressibleByArgument {}

extension Budget {
  /// Parses a command-line budget with the parser's own error.
  static func argument(_ text: String) throws -> Budget {
    do { return try Budget(parsing: text) } catch { throw ValidationError(error.description) }
  }
}
