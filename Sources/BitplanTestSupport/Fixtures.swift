public import Foundation

/// Files that tests read, found relative to this source file.
public enum Fixtures {
  /// `Tests/Fixtures`.
  public static let folder = URL(filePath: #filePath)
    .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
    .appending(path: "Tests/Fixtures")

  /// The bundled trained Llama: checkpoint, configuration, tokenizer and texts.
  public static let docsLlama = folder.appending(path: "docs-llama")
}
