public import BitplanCheckpoint
internal import BitplanCore
public import BitplanEngine
public import Foundation

/// A float checkpoint, opened: what verbs that need the original weights start from.
public struct ModelSource: Sendable {
  /// The mapped checkpoint.
  public let checkpoint: Checkpoint
  /// The model, ready to run in float.
  public let model: Model

  /// Opens a safetensors file, an index file, or the folder that holds either.
  public init(path: String) throws(PipelineError) {
    do {
      guard FileManager.default.fileExists(atPath: path) else {
        throw PipelineError(.missingInput, "There is no file or folder '\(path)'.")
      }
      checkpoint = try Checkpoint(path: path)
      model = try Model.load(checkpoint)
    } catch {
      throw PipelineError(wrapping: error)
    }
  }

  /// The same checkpoint with another model made of it, such as a transformed one.
  func replacing(_ model: Model) -> ModelSource { ModelSource(checkpoint, model) }

  /// The same source without the weights in memory that a selection of transforms replaces.
  func leavingRoom(for selection: TransformSelection) -> ModelSource {
    let online: Set<TransformSelection.Family> = [.rotateOnline, .kroneckerOnline]
    guard let families = selection.families, !online.isDisjoint(with: families) else { return self }
    return replacing(model.readingDownWhenNeeded(from: checkpoint))
  }

  private init(_ checkpoint: Checkpoint, _ model: Model) {
    self.checkpoint = checkpoint
    self.model = model
  }

  /// The folder that holds the checkpoint.
  public var folder: URL { URL(filePath: checkpoint.folder) }

  /// The tokenizer beside the checkpoint.
  public func tokenizer() throws(PipelineError) -> any Tokenizer {
    try Self.tokenizer(in: folder)
  }

  /// The tokenizer in `folder`.
  static func tokenizer(in folder: URL) throws(PipelineError) -> any Tokenizer {
    let path = folder.appending(path: "tokenizer.json").path
    guard FileManager.default.fileExists(atPath: path) else {
      throw PipelineError(
        .missingInput,
        "There is no tokenizer.json in '\(folder.path)'. Put the model's tokenizer beside its weights."
      )
    }
    do { return try Tokenizers.load(path: path) } catch { throw PipelineError(wrapping: error) }
  }
}

/// A text file to measure or to report on.
public struct TextSource: Sendable {
  /// For artifacts and messages: the file's name without its folder.
  public let name: String
  /// The text.
  public let text: String

  /// Reads `path` as UTF-8.
  public init(path: String) throws(PipelineError) {
    guard let data = FileManager.default.contents(atPath: path) else {
      throw PipelineError(.missingInput, "The text file '\(path)' is missing or cannot be read.")
    }
    guard let text = String(data: data, encoding: .utf8) else {
      throw PipelineError(.invalidInput, "The text file '\(path)' is not UTF-8. Convert it first.")
    }
    guard !text.allSatisfy(\.isWhitespace) else {
      throw PipelineError(.invalidInput, "The text file '\(path)' holds no text.")
    }
    self.name = URL(filePath: path).lastPathComponent
    self.text = text
  }

  /// The file given, or `defaultName` beside the model.
  init(path: String?, defaultName: String, folder: URL, option: String) throws(PipelineError) {
    if let path {
      try self.init(path: path)
      return
    }
    let beside = folder.appending(path: defaultName).path
    guard FileManager.default.fileExists(atPath: beside) else {
      throw PipelineError(
        .missingInput,
        "There is no \(defaultName) beside the model. Name a text file with \(option) FILE.")
    }
    try self.init(path: beside)
  }
}

extension Workbench {
  /// Whether `path` is a packed checkpoint; `false` for anything that is not a single file.
  public static func isPacked(_ path: String) throws(PipelineError) -> Bool {
    var isFolder: ObjCBool = false
    guard FileManager.default.fileExists(atPath: path, isDirectory: &isFolder), !isFolder.boolValue,
      path.hasSuffix(".safetensors")
    else { return false }
    do { return try PackedCheckpoint.isPacked(path: path) } catch {
      throw PipelineError(wrapping: error)
    }
  }
}
