/// The parts of `tokenizer.json` that every model type shares.
struct TokenizerFile {
  /// Larger files are not tokenizers.
  static let sizeLimit = 256 << 20

  let root: JSONNode
  let model: JSONNode
  let vocabulary: Vocabulary
  let addedTokens: [AddedTokens.Token]
  let normalizer: Normalizer
  let postProcessor: PostProcessor

  init(path: String) throws(CheckpointError) {
    try self.init(root: JSONNode(contentsOf: path, limit: Self.sizeLimit))
  }

  init(root: JSONNode) throws(CheckpointError) {
    self.root = root
    model = try root.required("model")
    var vocabulary = try Vocabulary(try Self.vocabularyNode(model))
    addedTokens = try Self.addedTokens(root, into: &vocabulary)
    normalizer = try Normalizer(root.optional("normalizer"))
    postProcessor = try PostProcessor(root.optional("post_processor"), vocabulary: vocabulary)
    self.vocabulary = vocabulary
  }

  /// The model's type; files of old versions leave it out, and it shows in the other keys.
  static func modelType(_ model: JSONNode) throws(CheckpointError) -> String {
    if let type = try model.optional("type") { return try type.string() }
    if try model.optional("merges") != nil { return "BPE" }
    if try model.optional("max_input_chars_per_word") != nil { return "WordPiece" }
    return try model.required("type").string()
  }

  /// Checks the type before the vocabulary, whose form depends on it.
  private static func vocabularyNode(_ model: JSONNode) throws(CheckpointError) -> JSONNode {
    let type = try modelType(model)
    guard type == "BPE" || type == "WordPiece" else {
      throw CheckpointError(
        "\(model.file.quoted): key 'model.type' is \(type.quoted), which is not supported; BPE "
          + "(byte-level) and WordPiece are. Use a model with one of these tokenizers.")
    }
    return try model.required("vocab")
  }

  private static func addedTokens(
    _ root: JSONNode, into vocabulary: inout Vocabulary
  ) throws(CheckpointError) -> [AddedTokens.Token] {
    var tokens: [AddedTokens.Token] = []
    guard let list = try root.optional("added_tokens") else { return [] }
    for node in try list.elements() {
      let content = try node.required("content").string()
      guard !content.isEmpty else {
        throw node.error("has an empty content. Get the file again.")
      }
      let id = try node.required("id").integer(in: 0...Vocabulary.idLimit - 1)
      try vocabulary.add(content, id: id, node: node)
      let isSpecial = try node.optional("special")?.boolean() ?? false
      tokens.append(
        AddedTokens.Token(
          id: id, content: content,
          singleWord: try node.optional("single_word")?.boolean() ?? false,
          stripsLeft: try node.optional("lstrip")?.boolean() ?? false,
          stripsRight: try node.optional("rstrip")?.boolean() ?? false,
          isNormalized: try node.optional("normalized")?.boolean() ?? !isSpecial))
    }
    return tokens
  }
}

/// From text to the words that a model encodes one by one: added tokens out, the rest normalised.
struct TextPipeline: Sendable {
  let vocabulary: Vocabulary
  private let normalizer: Normalizer
  private let postProcessor: PostProcessor
  private let rawTokens: AddedTokens
  private let normalizedTokens: AddedTokens

  init(_ file: TokenizerFile) {
    let normalizer = file.normalizer
    vocabulary = file.vocabulary
    self.normalizer = normalizer
    postProcessor = file.postProcessor
    rawTokens = AddedTokens(file.addedTokens.filter { !$0.isNormalized }) { Array($0.content.utf8) }
    normalizedTokens = AddedTokens(file.addedTokens.filter(\.isNormalized)) {
      normalizer.normalize(Array($0.content.utf8))
    }
  }

  /// Encodes `text`; `model` appends the ids of one normalised stretch without added tokens.
  func encode(
    _ text: String, addSpecialTokens: Bool, model: (_ text: [UInt8], _ ids: inout [Int]) -> Void
  ) -> [Int] {
    var ids = addSpecialTokens ? postProcessor.prefix : []
    let bytes = Array(text.utf8)
    for piece in rawTokens.pieces(of: bytes) {
      switch piece {
      case .token(let id): ids.append(id)
      case .text(let range):
        let normalized = normalizer.normalize(Array(bytes[range]))
        for inner in normalizedTokens.pieces(of: normalized) {
          switch inner {
          case .token(let id): ids.append(id)
          case .text(let range):
            model(range.count == normalized.count ? normalized : Array(normalized[range]), &ids)
          }
        }
      }
    }
    if addSpecialTokens { ids += postProcessor.suffix }
    return ids
  }
}
