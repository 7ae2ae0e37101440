/// Reads tokenizers.
public enum Tokenizers {
  /// Reads `tokenizer.json`, or the one in a folder.
  ///
  /// Supported are byte-level BPE with the word patterns of GPT-2, Llama 3 and Qwen 2, and
  /// WordPiece with BERT's normaliser. Anything else is an error that names file and key.
  public static func load(path: String) throws(CheckpointError) -> any Tokenizer {
    var file = path
    if FileKind(path) == .folder {
      file += path.hasSuffix("/") ? "tokenizer.json" : "/tokenizer.json"
    }
    let parsed = try TokenizerFile(path: file)
    return switch try TokenizerFile.modelType(parsed.model) {
    case "WordPiece": try WordPieceTokenizer(parsed)
    default: try BytePairTokenizer(parsed)
    }
  }
}
