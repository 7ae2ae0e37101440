internal import BitplanEngine
internal import BitplanQuantizers
internal import BitplanSensitivity
internal import Synchronization

/// The statistics that were gathered last: a search measures a model and then executes plans of it,
/// with codes found from the same text.
final class KeptStatistics: Sendable {
  private struct Kept: Sendable {
    let model: Model
    let text: String
    let quantizer: OperatorQuantizer.Method
    let statistics: [OperatorStatistics]
  }

  private let last = Mutex<Kept?>(nil)

  /// Keeps statistics of a model on a text, which the tokens' hash names.
  func keep(
    _ statistics: [OperatorStatistics], _ model: Model, text: String,
    _ quantizer: OperatorQuantizer.Method
  ) {
    last.withLock {
      $0 = Kept(model: model, text: text, quantizer: quantizer, statistics: statistics)
    }
  }

  /// The kept statistics where they are of these very weights, this text and this quantizer.
  func find(
    _ model: Model, text: String, _ quantizer: OperatorQuantizer.Method
  ) -> [OperatorStatistics]? {
    last.withLock { kept in
      guard let kept, kept.text == text, kept.quantizer == quantizer,
        kept.model.identity == model.identity,
        model.operators.indices.allSatisfy({
          kept.model.floatWeights(of: $0) === model.floatWeights(of: $0)
        })
      else { return nil }
      return kept.statistics
    }
  }
}
