import ArgumentParser

/// The command line: parse, call one pipeline function, print.
@main
struct PlanCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "plan",
    abstract:
      "Choose the bit width of every part of a neural network, for your CPU and your budget.",
    discussion: """
      plan --budget 4.2bits model.safetensors

      measures this machine and the model where no fresh measurement exists, solves an integer \
      program for the formats that lose the least within the budget, and writes model.plan.json. \
      'search' is the default subcommand, so the word may be left out.

      From nothing to a running model:
        plan --budget 4.2bits model.safetensors
        plan pack model.safetensors --plan model.plan.json --out packed.safetensors
        plan validate model.safetensors --plan model.plan.json
        plan show model.plan.json --html report.html
        plan run packed.safetensors --prompt "The file"

      Exit codes: 0 done, 2 no plan fits the budget, 3 an artifact is stale or foreign, 4 a \
      measured value broke its tolerance, 64 wrong usage, 65 malformed input, 66 missing input, \
      73 cannot write, 130 interrupted.
      """,
    version: PlanVersion.text,
    subcommands: [
      SearchCommand.self, ProfileCommand.self, MeasureCommand.self, PackCommand.self,
      RunCommand.self, ValidateCommand.self, CompareCommand.self, ShowCommand.self,
      DiffCommand.self, ExplainCommand.self, LintCommand.self, DevicesCommand.self,
      SimulatorTableCommand.self,
    ],
    defaultSubcommand: SearchCommand.self)
}

/// The program's version.
enum PlanVersion {
  static let text = "0.1.0"
}
