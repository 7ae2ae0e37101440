import BitplanCheckpoint
import BitplanCore
import BitplanEngine
import BitplanKernels
import BitplanQuantizers
import BitplanSensitivity
import Foundation
import StudySupport

/// The model, its texts and a meter on held-out text, shared by all techniques.
final class TechniqueBench {
  let model: Model
  let context: KernelContext
  /// What gradients and masked passes run on, and what curvature is gathered on.
  let calibration, wide: TokenWindows
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
    let branches: [SideBranch]
    let change: Technique.Change
  }

  init(path: String, windowCount: Int, threadCount: Int) throws {
    let opened = try StudyModel(path: path, threadCount: threadCount)
    (model, context) = (opened.model, opened.context)
    // As many windows as `plan measure` takes.
    calibration = try opened.calibration(8, .spread)
    wide = try opened.calibration(32, .wide(measured: 8))
    tokenShares = try opened.calibration(.max, .spread)
      .tokenShares(vocabularySize: model.vocabularySize)
    held = try opened.heldOutMeter(opened.heldOut(windowCount).windows)
  }

  /// The changed model; the last one is kept.
  func changed(_ change: Technique.Change) throws -> TechniqueModel {
    if let models, models.change == change { return models.model }
    let made = try TechniqueModel(change, self)
    models = (change, made)
    return made
  }
}
