/// What is put around a text when special tokens are asked for.
struct PostProcessor: Sendable {
  private(set) var prefix: [Int] = []
  private(set) var suffix: [Int] = []

  /// Reads `post_processor`; `nil` adds nothing.
  init(_ node: JSONNode?, vocabulary: Vocabulary) throws(CheckpointError) {
    guard let node else { return }
    let type = try node.required("type")
    switch try type.string() {
    case "ByteLevel": break
    case "Sequence":
      for child in try node.required("processors").elements() {
        let inner = try PostProcessor(child, vocabulary: vocabulary)
        prefix = inner.prefix + prefix
        suffix += inner.suffix
      }
    case "TemplateProcessing": try readTemplate(node, vocabulary: vocabulary)
    case "BertProcessing", "RobertaProcessing":
      prefix = [try Self.pair(node.required("cls"), vocabulary: vocabulary)]
      suffix = [try Self.pair(node.required("sep"), vocabulary: vocabulary)]
    case let name:
      throw type.error(
        "is \(name.quoted), which is not supported; ByteLevel, TemplateProcessing, BertProcessing, "
          + "RobertaProcessing and a Sequence of them are.")
    }
  }

  /// `"single": [{"SpecialToken": {"id": "[CLS]"}}, {"Sequence": {"id": "A"}}, …]`
  private mutating func readTemplate(
    _ node: JSONNode, vocabulary: Vocabulary
  ) throws(CheckpointError) {
    let single = try node.required("single")
    var hasText = false
    for item in try single.elements() {
      if let sequence = try item.optional("Sequence") {
        let name = try sequence.required("id").string()
        guard name == "A", !hasText else {
          throw item.error("must hold the sequence 'A' once, not \(name.quoted).")
        }
        hasText = true
      } else {
        let name = try item.required("SpecialToken").required("id").string()
        let special = try node.required("special_tokens").required(name)
        for id in try special.required("ids").elements() {
          let id = try Self.known(id, vocabulary: vocabulary)
          if hasText { suffix.append(id) } else { prefix.append(id) }
        }
      }
    }
    guard hasText else { throw single.error("must hold the sequence 'A'. Get the file again.") }
  }

  /// `["[CLS]", 101]`
  private static func pair(
    _ node: JSONNode, vocabulary: Vocabulary
  ) throws(CheckpointError) -> Int {
    let elements = try node.elements()
    guard elements.count == 2 else { throw node.error("must be a token and its id.") }
    return try known(elements[1], vocabulary: vocabulary)
  }

  private static func known(
    _ node: JSONNode, vocabulary: Vocabulary
  ) throws(CheckpointError) -> Int {
    let id = try node.integer(in: 0...Vocabulary.idLimit - 1)
    guard vocabulary.token(of: id) != nil else {
      throw node.error("is \(id), which is not in the vocabulary. Get the file again.")
    }
    return id
  }
}
