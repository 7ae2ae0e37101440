import ArgumentParser
import BitplanCore
import BitplanPipeline
import Foundation

/// `plan run`: execute a packed model.
struct RunCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "run",
    abstract: "Execute a packed model: continue a prompt, or embed a sentence.")

  @Argument(help: "A packed checkpoint from 'plan pack', or a float checkpoint.")
  var packed: String

  @Option(help: ArgumentHelp("Text to continue or to embed.", valueName: "text"))
  var prompt: String

  @Option(help: ArgumentHelp("Tokens to generate at most.", valueName: "n"))
  var tokens = 64

  @Option(
    help: ArgumentHelp(
      "0 always takes the likeliest token; 1 samples as the model says.", valueName: "t"))
  var temperature = 0.0

  @Option(
    help: ArgumentHelp("Sample among the likeliest tokens that make up this share.", valueName: "p")
  )
  var topP = 0.95

  @Option(help: ArgumentHelp("Seed of the sampling.", valueName: "n"))
  var seed: UInt64 = 1

  @Option(
    help: ArgumentHelp(
      "Tokenizer (default: the one packed in, or beside the file).", valueName: "file"))
  var tokenizer: String?

  @Option(
    help: ArgumentHelp(
      "How keys and values are kept: float, int8 or int4 (default: as the plan says).",
      valueName: "name"))
  var kvCache: KeyValueFormat?

  @OptionGroup var common: CommonOptions

  func validate() throws {
    guard tokens > 0 else { throw ValidationError("'--tokens \(tokens)' must be positive.") }
    guard temperature >= 0, temperature.isFinite else {
      throw ValidationError("'--temperature \(temperature)' must be 0 or more.")
    }
    guard topP > 0, topP <= 1 else {
      throw ValidationError("'--top-p \(topP)' must be above 0 and at most 1.")
    }
  }

  func run() throws {
    try runVerb {
      var request = RunRequest(path: packed, prompt: prompt)
      request.tokenCount = tokens
      request.temperature = temperature
      request.topP = topP
      request.seed = seed
      request.tokenizer = tokenizer
      request.keyValueCache = kvCache
      let streams = !common.json
      let result = try common.workbench().run(request) { piece in
        if streams { FileHandle.standardOutput.write(Data(piece.utf8)) }
      }
      if common.json { try printJSON(result) } else { print(result.closingLine) }
    }
  }
}
