/// Text to token ids and back, as `tokenizer.json` says: byte-level BPE or WordPiece.
///
/// Truncation and padding that the file asks for are left to the caller.
public protocol Tokenizer: Sendable {
  /// One more than the largest id, added tokens included: what an embedding needs at least.
  var vocabularySize: Int { get }

  /// Token ids; with `addSpecialTokens` as the post-processor says (`[CLS] … [SEP]`), without: the
  /// text alone. Special tokens written in the text are recognised in both cases.
  func encode(_ text: String, addSpecialTokens: Bool) -> [Int]

  /// The text of `ids`; ids outside the vocabulary are left out.
  func decode(_ ids: [Int]) -> String

  /// The id of a token as the file writes it, such as `<|bos|>` or `Ġthe`.
  func id(of token: String) -> Int?
}
