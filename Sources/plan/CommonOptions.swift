public import ArgumentParser
public import BitplanCore
public import BitplanKernels
public import BitplanPipeline
import Foundation

/// Options that every verb understands.
struct CommonOptions: ParsableArguments {
  @Flag(name: .long, help: "Print the result as JSON on standard output.")
  var json = false

  @Flag(name: .shortAndLong, help: "Say nothing on standard error but errors.")
  var quiet = false

  @Option(help: ArgumentHelp("Threads to use (default: one for every core).", valueName: "n"))
  var threads: Int?

  @Option(
    help: ArgumentHelp(
      "Kernels to use instead of the fastest this CPU can run: "
        + InstructionSet.allCases.map(\.rawValue).joined(separator: ", ") + ".",
      valueName: "name"))
  var instructionSet: InstructionSet?

  func validate() throws {
    if let threads, !(1...1024).contains(threads) {
      throw ValidationError("'--threads \(threads)' must be between 1 and 1024.")
    }
  }

  /// What the verb works with.
  func workbench() throws -> Workbench {
    try Workbench(
      instructionSet: instructionSet, threadCount: threads,
      progress: quiet ? SilentProgress() : TerminalProgress(), cancellation: Interrupts.cancellation
    )
  }
}

extension InstructionSet: ExpressibleByArgument {}

extension WeightFormat: ExpressibleByArgument {
  /// Parses an identifier such as `int4_g64`.
  public init?(argument: String) { self.init(identifier: argument) }
}

/// Formats as `int4_g64,int3_g128`.
struct FormatList: ExpressibleByArgument {
  let formats: [WeightFormat]

  init?(argument: String) {
    var formats: [WeightFormat] = []
    for name in argument.split(separator: ",") {
      let trimmed = name.trimmingCharacters(in: .whitespaces)
      guard let format = WeightFormat(identifier: trimmed) else { return nil }
      formats.append(format)
    }
    guard !formats.isEmpty else { return nil }
    self.formats = Array(Set(formats)).sorted()
  }

  static let help = ArgumentHelp(
    "Candidate formats, separated by commas, of: "
      + WeightFormat.all.map(\.identifier).joined(separator: ", ") + ". All but "
      + WeightFormat.all.filter { !WeightFormat.candidates.contains($0) }.map(\.identifier)
      .joined(separator: ", ") + " by default.",
    valueName: "list")
}

/// Side branches as `rank16,outliers0.5%`, or `none`.
struct BranchList: ExpressibleByArgument {
  let branches: [SideBranch]

  init?(argument: String) {
    if argument == "none" {
      branches = []
      return
    }
    var found: Set<SideBranch> = []
    for name in argument.split(separator: ",") {
      let trimmed = name.trimmingCharacters(in: .whitespaces)
      guard let branch = SideBranch(identifier: trimmed) else { return nil }
      found.insert(branch)
    }
    guard !found.isEmpty else { return nil }
    branches = found.sorted()
  }

  static let help = ArgumentHelp(
    "Side branches that an operator may keep beside its codes, separated by commas: rank16 (two thin "
      + "matrices of that rank), outliers0.5% (that share of the weights on their own), or none.",
    valueName: "list")
}

extension TransformSelection: ExpressibleByArgument {
  /// Parses `none`, `auto`, or families separated by commas.
  public init?(argument: String) { self.init(parsing: argument) }

  static let help = ArgumentHelp(
    "Equivalence transforms before quantizing (default: rotate-online, where the model's sizes allow "
      + "it): none, auto (what measures best), or a list of: "
      + Family.allCases.map(\.rawValue).joined(separator: ", ")
      + ". What is done online is done in every pass and takes time; one of the two at most.",
    valueName: "list")
}

extension KeyValueFormat: ExpressibleByArgument {}
extension ActivationChoice: ExpressibleByArgument {}

/// Runs a verb and turns its failure into a message and a documented exit code.
func runVerb(_ body: () throws -> Void) throws {
  do {
    Interrupts.install()
    FreedMemory.keepLargeBlocksApart()
    try body()
  } catch {
    let failure = PipelineError(wrapping: error)
    FileHandle.standardError.write(Data("Error: \(failure.description)\n".utf8))
    throw ExitCode(failure.kind.exitCode)
  }
}

/// Prints an artifact as JSON with sorted keys.
func printJSON(_ value: some Encodable) throws {
  let encoder = JSONEncoder()
  encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
  print(String(decoding: try encoder.encode(value), as: UTF8.self))
}
