import BitplanCheckpoint
import BitplanCore
import BitplanEngine
import BitplanKernels
import BitplanQuantizers
import BitplanSensitivity
import Foundation

/// The model, its texts and a meter on held-out text, shared by all techniques.
final class TechniqueBench {
  let model: Model
  let context: KernelContext
  /// What gradients and masked passes run on, what curvature is gathered on, and the whole text.
  let calibration, wide, whole: TokenWindows
  /// Losses on held-out text, against the float model.
  let held: LossMeter
  /// How often every token occurs in the calibration text.
  let tokenShares: [Double]
  /// The table that was measured last: techniques that differ in their search alone share it.
  var table: (key: TableKey, table: SensitivityTable)?
  private var models: (change: Technique.Change, model: TechniqueModel)?

  /// What a table depends on.
  struct TableKey: Hashable {
    let method: OperatorQuantizer.Method
    let formats: [WeightFormat]
    let change: Technique.Change
  }

  init(path: String, windowCount: Int, threadCount: Int) throws {
    let checkpoint = try Checkpoint(path: path)
    model = try Model.load(checkpoint)
    guard let kernels = KernelSet(.best) else {
      throw QuantizerStudy.UsageError(description: "This machine runs no kernels.")
    }
    context = KernelContext(kernels: kernels, pool: ThreadPool(threadCount: threadCount))
    let tokenizer = try Tokenizers.load(path: checkpoint.folder + "/tokenizer.json")
    func windows(
      _ name: String, _ count: Int, _ placement: TokenWindows.Placement
    ) throws -> TokenWindows {
      try TokenWindows.languageModel(
        name: name, text: String(contentsOfFile: checkpoint.folder + "/" + name, encoding: .utf8),
        tokenizer: tokenizer, count: count, length: 512, placement: placement)
    }
    // As many windows as `plan measure` takes.
    calibration = try windows("calibration.txt", 8, .spread)
    wide = try windows("calibration.txt", 32, .wide(measured: 8))
    whole = try windows("calibration.txt", .max, .spread)
    tokenShares = whole.tokenShares(vocabularySize: model.vocabularySize)
    held = LossMeter(
      model: model, windows: try windows("evaluation.txt", windowCount, .first).windows,
      context: context)
    try held.makeReference { _, _ in }
  }

  /// The changed model; the last one is kept.
  func changed(_ change: Technique.Change) throws -> TechniqueModel {
    if let models, models.change == change { return models.model }
    let made = try TechniqueModel(change, self)
    models = (change, made)
    return made
  }
}
