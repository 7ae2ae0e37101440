import ArgumentParser
import BitplanPipeline

/// `plan diff`: what changed between two plans.
struct DiffCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "diff", abstract: "Show which operators differ between two plans.")

  @Argument(help: "The first plan.") var first: String
  @Argument(help: "The second plan.") var second: String
  @OptionGroup var common: CommonOptions

  func run() throws {
    try runVerb {
      let difference = PlanDifference(
        try Workbench.readPlan(first), try Workbench.readPlan(second))
      if common.json { try printJSON(difference) } else { print(difference.text) }
    }
  }
}
