import ArgumentParser
import BitplanPipeline

/// `plan lint`: what about a plan deserves a look.
struct LintCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "lint",
    abstract: "Warn of what deserves a look in a plan.",
    discussion: """
      Stale inputs, predictions that did not hold, loose proofs, operators far narrower than their \
      neighbours, dominated choices, rules that cost much, plans that hang on noise. Warnings do not \
      change the exit code.
      """)

  @Argument(help: "The plan.") var plan: String

  @Option(help: ArgumentHelp("Sensitivity that the plan was made from.", valueName: "file"))
  var sensitivity: String?

  @Option(help: ArgumentHelp("Device profile that the plan was made with.", valueName: "file"))
  var profile: String?

  @OptionGroup var common: CommonOptions

  func run() throws {
    try runVerb {
      let result = try common.workbench().lint(
        planFile: plan, sensitivity: sensitivity, profile: profile)
      if common.json { try printJSON(result) } else { print(result.text) }
    }
  }
}
