import Foundation

/// Which safetensors files a path given by the user stands for.
struct CheckpointLocation {
  /// The folder that holds the checkpoint, where `config.json` is looked for.
  let folder: String
  /// For people: the folder's name, or the file's where it has a name of its own.
  let name: String
  /// The single file, or the index of several.
  let file: String
  /// Whether ``file`` is an index.
  let isIndex: Bool

  private static let modelFile = "model.safetensors"
  private static let indexFile = "model.safetensors.index.json"

  /// Accepts a safetensors file, an index file, or a folder that holds either.
  init(path: String) throws(CheckpointError) {
    guard !path.isEmpty else {
      throw CheckpointError("The path of the model is empty. Name a file or a folder.")
    }
    switch FileKind(path) {
    case .missing:
      throw CheckpointError(
        "There is no file or folder \(path.quoted). Check the path of the model.")
    case .other:
      throw CheckpointError("\(path.quoted) is not a regular file. Name a file on disk.")
    case .folder:
      self.init(folder: path, file: try Self.find(in: path))
    case .regular:
      let slash = path.utf8.lastIndex(of: UInt8(ascii: "/"))
      let file = slash.map { String(path[path.utf8.index(after: $0)...]) } ?? path
      let folder = slash.map { $0 == path.startIndex ? "/" : String(path[..<$0]) } ?? "."
      self.init(folder: folder, file: file)
    }
  }

  private init(folder: String, file: String) {
    self.folder = folder
    self.file = folder.hasSuffix("/") ? folder + file : "\(folder)/\(file)"
    isIndex = file.hasSuffix(".json")
    let own = file.replacing(".index.json", with: "").replacing(".safetensors", with: "")
    let folderName = URL(filePath: folder).standardizedFileURL.lastPathComponent
    name = own == "model" && !folderName.isEmpty && folderName != "/" ? folderName : own
  }

  /// The safetensors or index file of a folder: the usual names first, else the only one there.
  private static func find(in folder: String) throws(CheckpointError) -> String {
    for usual in [modelFile, indexFile] where FileKind("\(folder)/\(usual)") == .regular {
      return usual
    }
    let names: [String]
    do {
      names = try FileManager.default.contentsOfDirectory(atPath: folder).sorted()
    } catch {
      throw CheckpointError(
        "The folder \(folder.quoted) cannot be listed. Give yourself read permission.")
    }
    for suffix in [".safetensors.index.json", ".safetensors"] {
      let candidates = names.filter { $0.hasSuffix(suffix) && !$0.hasPrefix(".") }
      if candidates.count == 1 { return candidates[0] }
      if candidates.count > 1 {
        throw CheckpointError(
          "The folder \(folder.quoted) holds \(candidates.count) files that end in \(suffix) and "
            + "no '\(modelFile)' or '\(indexFile)'. Name the one to read.")
      }
    }
    throw CheckpointError(
      "The folder \(folder.quoted) holds no safetensors file. "
        + "Name the folder with '\(modelFile)' or '\(indexFile)'.")
  }
}
