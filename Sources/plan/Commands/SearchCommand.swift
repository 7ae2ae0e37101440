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

      The plan that is found is executed on calibration text that was not measured on. Where it \
      loses more or less than predicted, the losses are corrected and the search runs again; the \
      best measured plan is kept, and never one that measures worse than a uniform format of the \
      same or smaller size. --no-check leaves this out.

      To ask for a quality instead of a size, name what should be small:

        plan model.safetensors --max-kl 0.05 --minimize bytes

      Rules hold whatever they cost; '*' in a pattern stands for any text:

        plan model.safetensors --budget 4.2bits --pin 'lm_head=int8_g128s' \\
          --floor '*.down_proj=4' --exclude 'model.layers.0.*' --fuse qkv,gate_up
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
      "Text to measure on, or 'self' (default: calibration.txt beside the model).",
      valueName: "file"))
  var calibration: String?

  @Option(help: FormatList.help) var formats: FormatList?

  @Option(help: BranchList.help) var branches: BranchList?

  @Option(help: TransformSelection.help) var transforms = TransformSelection.standard

  @Option(
    help: ArgumentHelp(
      "'feature': rows of one operator may take different formats; 'layer': one format each.",
      valueName: "name"))
  var granularity = Granularity.feature

  @Option(
    help: ArgumentHelp(
      "Keep operators in one format; may be repeated.", valueName: "pattern=format"),
    transform: PlanRuleArguments.pin)
  var pin: [Plan.Rules.Pin] = []

  @Option(help: ArgumentHelp("Keep operators in f16; may be repeated.", valueName: "pattern"))
  var exclude: [String] = []

  @Option(
    help: ArgumentHelp(
      "Give operators at least so many bits; may be repeated.", valueName: "pattern=bits"),
    transform: PlanRuleArguments.floor)
  var floor: [Plan.Rules.Floor] = []

  @Option(
    help: ArgumentHelp(
      "Operators that must share a format, as a runtime that fuses them needs: qkv, gate_up.",
      valueName: "list"), transform: PlanRuleArguments.fusions)
  var fuse: [Plan.Rules.Fusion]?

  @Option(
    name: [.customLong("max-kl"), .customLong("max-loss")],
    help: ArgumentHelp(
      "Largest loss in the model's metric: KL divergence in nats per token, or cosine distance.",
      valueName: "loss"))
  var maximumLoss: Double?

  @Option(
    help: ArgumentHelp(
      "With --max-kl, what to have as little of as possible: bits, bytes, decode, prefill, energy.",
      valueName: "name"),
    transform: PlanRuleArguments.kind)
  var minimize: Budget.Kind?

  @Option(
    help: ArgumentHelp(
      "Count the KV cache of so many tokens towards a byte budget: 8k, 4096.", valueName: "tokens"),
    transform: PlanRuleArguments.tokens)
  var context: Int?

  @Option(
    help: ArgumentHelp(
      "How activations are kept: int8, int16 (two bytes: exact but slower), or auto: 16 bits where "
        + "they save more than half the share of the loss that they add to the time.",
      valueName: "name"))
  var activations = ActivationChoice.auto

  @Option(
    help: ArgumentHelp(
      "How keys and values are kept: float, int8 or int4. What it loses is part of the prediction.",
      valueName: "name"))
  var kvCache = KeyValueFormat.float

  @Option(
    help: ArgumentHelp(
      "Write the whole front of loss against size, so many plans, to MODEL.front.json; needs no budget.",
      valueName: "n"))
  var pareto: Int?

  @Option(help: .hidden, transform: PlanRuleArguments.assignment)
  var assign: GivenAssignment?

  @Flag(inversion: .prefixedNo, help: "Execute plans while searching, and correct what is off.")
  var check = true

  @Option(
    help: ArgumentHelp(
      "Where the plan goes (default: MODEL.plan.json in this folder).", valueName: "file"))
  var out: String?

  @Option(help: ArgumentHelp("Longest time to search for, in seconds.", valueName: "s"))
  var timeLimit = 10.0

  @OptionGroup var common: CommonOptions

  func validate() throws {
    if let pareto, !(2...1000).contains(pareto) {
      throw ValidationError("'--pareto \(pareto)' must be between 2 and 1000 plans.")
    }
    guard !budget.isEmpty || maximumLoss != nil || pareto != nil || assign != nil else {
      throw ValidationError(
        "Name at least one budget, such as --budget 4.2bits, or a quality with --max-kl.")
    }
    if let maximumLoss, !(maximumLoss > 0 && maximumLoss.isFinite) {
      throw ValidationError("'--max-kl \(maximumLoss)' must be a positive number.")
    }
    guard minimize == nil || maximumLoss != nil else {
      throw ValidationError("'--minimize' needs --max-kl: say how much may be lost.")
    }
    guard context == nil || budget.contains(where: { $0.kind == .storedBytes }) else {
      throw ValidationError(
        "'--context' counts towards a byte budget: name one, such as --budget 6MiB.")
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
      request.branches = branches?.branches
      request.output = out
      request.granularity = granularity
      request.transforms = transforms
      request.timeLimitSeconds = timeLimit
      request.checks = check
      request.rules = Plan.Rules(
        pins: pin, excluded: exclude, floors: floor, fused: fuse ?? [])
      request.goal = maximumLoss.map {
        Plan.Goal(minimized: minimize ?? .storedBytes, maximumLoss: $0)
      }
      request.contextTokens = context
      request.activations = activations
      request.keyValueCache = kvCache
      let workbench = try common.workbench()
      if let assign {
        let outcome = try workbench.makePlan(request, given: assign)
        if common.json { try printJSON(outcome.plan) } else { print(outcome.summary) }
        return
      }
      let outcome =
        budget.isEmpty && maximumLoss == nil ? nil : try workbench.makePlan(request)
      if let outcome, !common.json { print(outcome.summary) }
      if let pareto {
        let front = try workbench.makeFront(
          request, pointCount: pareto, lossFactors: outcome?.plan.check?.lossFactors ?? [])
        if !common.json {
          print(front.summary)
        } else if outcome == nil {
          try printJSON(front.front)
        }
      }
      if let outcome, common.json { try printJSON(outcome.plan) }
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
