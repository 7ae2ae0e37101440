import ArgumentParser
import BitplanCore
import BitplanPipeline

/// `plan profile`: what this machine costs.
struct ProfileCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "profile",
    abstract: "Measure this machine: every format at every shape of a model, and its ceilings.",
    discussion: """
      The profile is kept under $BITPLAN_HOME/Profiles and reused until the CPU, the thread count, \
      the kernels or the needed shapes change. Run it while nothing else keeps the machine busy.
      """)

  @Option(
    name: .customLong("for"),
    help: ArgumentHelp(
      "Model whose shapes to time (default: a few general ones).", valueName: "model"))
  var model: String?

  @Option(help: FormatList.help) var formats: FormatList?

  @Option(
    help: ArgumentHelp(
      "Where the profile goes (default: $BITPLAN_HOME/Profiles/NAME.json).", valueName: "file"))
  var out: String?

  @Flag(help: "Measure everything again, even what the profile already has.")
  var refresh = false

  @OptionGroup var common: CommonOptions

  func run() throws {
    try runVerb {
      let workbench = try common.workbench()
      let stored =
        if let model {
          try workbench.profile(
            for: try ModelSource(path: model), formats: formats?.formats, output: out,
            refresh: refresh)
        } else {
          try workbench.profile(formats: formats?.formats, output: out, refresh: refresh)
        }
      if common.json { try printJSON(stored.profile) } else { print(ProfileSummary.text(stored)) }
    }
  }
}
