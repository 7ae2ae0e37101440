public import BitplanCheckpoint
public import BitplanEngine
public import BitplanKernels
public import BitplanSensitivity
import Foundation

/// A language model with the texts beside it, as every study opens it.
public struct StudyModel {
  public let model: Model
  public let context: KernelContext
  private let folder: String
  private let tokenizer: any Tokenizer

  /// Why a study cannot begin.
  public struct Failure: Error, CustomStringConvertible {
    public let description: String
  }

  /// Opens the checkpoint at `path`, with `calibration.txt`, `evaluation.txt` and `tokenizer.json`
  /// beside it.
  public init(
    path: String, threadCount: Int = ThreadPool.availableProcessorCount
  ) throws {
    let checkpoint = try Checkpoint(path: path)
    model = try Model.load(checkpoint)
    guard let kernels = KernelSet(.best) else {
      throw Failure(description: "This machine runs no kernels.")
    }
    context = KernelContext(kernels: kernels, pool: ThreadPool(threadCount: threadCount))
    folder = checkpoint.folder
    tokenizer = try Tokenizers.load(path: folder + "/tokenizer.json")
  }

  /// Windows of 512 tokens of `calibration.txt`.
  public func calibration(_ count: Int, _ placement: TokenWindows.Placement) throws -> TokenWindows
  {
    try windows("calibration.txt", count, placement)
  }

  /// The first windows of 512 tokens of `evaluation.txt`.
  public func heldOut(_ count: Int) throws -> TokenWindows {
    try windows("evaluation.txt", count, .first)
  }

  /// Losses on held-out text, against the float model.
  public func heldOutMeter(_ windows: [[Int]]) throws -> LossMeter {
    let meter = LossMeter(model: model, windows: windows, context: context)
    try meter.makeReference { _, _ in }
    return meter
  }

  private func windows(
    _ name: String, _ count: Int, _ placement: TokenWindows.Placement
  ) throws -> TokenWindows {
    try TokenWindows.languageModel(
      name: name, text: String(contentsOfFile: folder + "/" + name, encoding: .utf8),
      tokenizer: tokenizer, count: count, length: 512, placement: placement)
  }
}
