import ArgumentParser
import BitplanPipeline

/// `plan simulator-table`: the MixPE paper's comparison, as published and corrected.
struct SimulatorTableCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "simulator-table",
    abstract: "Reproduce the MixPE paper's comparison, as published and corrected.",
    shouldDisplay: false)

  @OptionGroup var common: CommonOptions

  func run() throws {
    try runVerb {
      let table = try SimulatorTable()
      if common.json { try printJSON(table.records) } else { print(table.markdown) }
    }
  }
}
