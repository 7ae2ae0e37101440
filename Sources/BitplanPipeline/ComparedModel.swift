internal import BitplanCheckpoint
internal import BitplanCore
internal import BitplanEngine
internal import Foundation

/// A checkpoint of either kind, opened to be run beside another.
struct ComparedModel {
  let model: Model
  /// The folder that holds it, where texts and tokenizer are looked for.
  let folder: URL
  /// Bytes of its weight files, headers and metadata included.
  let fileBytes: Int
  private let path: String
  private let isPacked: Bool

  /// Opens a packed checkpoint, or a float one as ``ModelSource`` does.
  ///
  /// - Parameter usesFloatWeights: replace packed weights by their dequantized values.
  init(_ path: String, _ usesFloatWeights: Bool) throws {
    self.path = path
    isPacked = try Workbench.isPacked(path)
    if isPacked {
      var model = try PackedCheckpoint.load(path: path)
      if usesFloatWeights {
        for index in model.operators.indices {
          model.weights[index] = .float(model.floatWeights(of: index))
        }
      }
      self.model = model
      folder = URL(filePath: path).deletingLastPathComponent()
      fileBytes = try FileManager.default.attributesOfItem(atPath: path)[.size] as? Int ?? 0
    } else {
      let source = try ModelSource(path: path)
      model = source.model
      folder = source.folder
      fileBytes = source.checkpoint.fileBytes
    }
  }

  /// ``fileBytes`` × 8 ÷ weights of all operators.
  var fileBitsPerWeight: Double {
    BitsPerWeight(storedBytes: fileBytes, weightCount: model.identity.plannedWeightCount).value
  }

  /// The tokenizer inside a packed checkpoint, or beside a float one.
  func tokenizer() throws -> any Tokenizer {
    isPacked ? try PackedCheckpoint.tokenizer(path: path) : try ModelSource.tokenizer(in: folder)
  }

  /// Refuses models whose predictions cannot be compared.
  func requireComparable(_ other: ComparedModel) throws(PipelineError) {
    guard model.objective == other.model.objective else {
      throw PipelineError(
        .invalidInput,
        "'\(path)' and '\(other.path)' are a language model and a sentence encoder. Compare "
          + "checkpoints of one model.")
    }
    guard model.vocabularySize == other.model.vocabularySize else {
      throw PipelineError(
        .invalidInput,
        "'\(path)' knows \(model.vocabularySize) tokens and '\(other.path)' "
          + "\(other.model.vocabularySize). Compare checkpoints of one model.")
    }
  }
}
