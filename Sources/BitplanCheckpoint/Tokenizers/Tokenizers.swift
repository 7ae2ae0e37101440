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
    return try tokenizer(TokenizerFile(path: file))
  }

  /// Reads a tokenizer that is kept inside another file.
  ///
  /// - Parameter name: what errors call it.
  public static func load(text: String, name: String) throws(CheckpointError) -> any Tokenizer {
    try tokenizer(TokenizerFile(root: JSONNode(file: name, text: text)))
  }

  private static func tokenizer(_ parsed: TokenizerFile) throws(CheckpointError) -> any Tokenizer {
    return switch try TokenizerFile.modelType(parsed.model) {
    case "WordPiece": try WordPieceTokenizer(parsed)
    default: try BytePairTokenizer(parsed)
    }
  }
}
