import ArgumentParser
import BitplanPipeline

/// `plan compare`: how far one checkpoint is from another.
struct CompareCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "compare",
    abstract: "Score a checkpoint against another one on held-out text.",
    discussion: """
      KL divergence of the next-token distributions (cosine distance of the embeddings, for an \
      encoder) and perplexity, both checkpoints run on the same windows. Either may be float or \
      packed, so weights that another tool quantized and dequantized can be scored as well. A float \
      checkpoint has its config.json beside it.
      """)

  @Argument(help: "The checkpoint taken as the truth, with its tokenizer.")
  var reference: String

  @Argument(help: "The checkpoint to score.")
  var checkpoint: String

  @Option(
    help: ArgumentHelp(
      "Held-out text (default: evaluation.txt beside the reference).", valueName: "file"))
  var evaluation: String?

  @Option(
    help: ArgumentHelp("A tokenizer.json (default: the reference's).", valueName: "file"))
  var tokenizer: String?

  @Option(help: ArgumentHelp("Windows of held-out text.", valueName: "n"))
  var windows = 16

  @Flag(help: "Do not quantize activations: compare the weights of packed checkpoints alone.")
  var floatActivations = false

  @OptionGroup var common: CommonOptions

  func validate() throws {
    guard windows > 0 else { throw ValidationError("'--windows \(windows)' must be positive.") }
  }

  func run() throws {
    try runVerb {
      var request = CompareRequest(reference: reference, checkpoint: checkpoint)
      request.evaluation = evaluation
      request.tokenizer = tokenizer
      request.windowCount = windows
      request.usesFloatActivations = floatActivations
      let result = try common.workbench().compare(request)
      if common.json { try printJSON(result) } else { print(result.text) }
    }
  }
}
