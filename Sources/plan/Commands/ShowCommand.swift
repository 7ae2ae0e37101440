import ArgumentParser
import BitplanPipeline

/// `plan show`: a plan for people.
struct ShowCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "show",
    abstract: "Show a plan as a table, or as an HTML report with pictures.")

  @Argument(help: "The plan.")
  var plan: String

  @Option(help: ArgumentHelp("Write a self-contained HTML report here.", valueName: "file"))
  var html: String?

  @Option(help: ArgumentHelp("Sensitivity file, for details in the report.", valueName: "file"))
  var sensitivity: String?

  @Option(help: ArgumentHelp("Device profile, for times in the report.", valueName: "file"))
  var profile: String?

  @OptionGroup var common: CommonOptions

  func run() throws {
    try runVerb {
      let result = try common.workbench().show(
        planFile: plan, html: html, sensitivity: sensitivity, profile: profile)
      if common.json { try printJSON(result.plan) } else { print(result.text) }
    }
  }
}
