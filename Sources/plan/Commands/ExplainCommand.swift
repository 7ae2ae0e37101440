import ArgumentParser
import BitplanPipeline

/// `plan explain`: why an operator has its width.
struct ExplainCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "explain",
    abstract: "Say why an operator has its width, and what would change it.",
    discussion: """
      Every way to store the operator is listed with its loss, bytes and times, and with the sum that \
      the search minimises: the loss plus what the choice uses of each budget at the budget's price. \
      The sensitivity is looked for beside the plan, the profile among this machine's.

        plan explain model.plan.json model.layers.3.mlp.down_proj
      """)

  @Argument(help: "The plan.") var plan: String
  @Argument(help: "The operator's name, or a pattern with '*'.") var operatorName: String

  @Option(help: ArgumentHelp("Sensitivity that the plan was made from.", valueName: "file"))
  var sensitivity: String?

  @Option(help: ArgumentHelp("Device profile that the plan was made with.", valueName: "file"))
  var profile: String?

  @OptionGroup var common: CommonOptions

  func run() throws {
    try runVerb {
      let explanations = try common.workbench().explain(
        planFile: plan, operator: operatorName, sensitivity: sensitivity, profile: profile)
      if common.json {
        try printJSON(explanations)
      } else {
        print(explanations.map(\.text).joined(separator: "\n\n"))
      }
    }
  }
}
