/// Tokens and their ids, as the file writes them: the model's vocabulary and the added tokens.
struct Vocabulary: Sendable {
  /// Ids from here on are refused: no vocabulary is that large, and a table must fit in memory.
  static let idLimit = 1 << 24

  private(set) var idOfToken: [ExactString: Int] = [:]
  private(set) var tokenOfID: [Int: String] = [:]

  /// One more than the largest id.
  private(set) var size = 0

  /// Reads `model.vocab`, an object of ids.
  init(_ node: JSONNode) throws(CheckpointError) {
    let members = try node.members()
    guard !members.isEmpty else { throw node.error("is empty. Get the file again.") }
    idOfToken.reserveCapacity(members.count)
    tokenOfID.reserveCapacity(members.count)
    for (token, value) in members {
      let id = try value.integer(in: 0...Self.idLimit - 1)
      if let other = tokenOfID.updateValue(token, forKey: id) {
        throw node.error(
          "gives the id \(id) to both \(other.quoted) and \(token.quoted). Get the file again.")
      }
      idOfToken[ExactString(token)] = id
      size = max(size, id + 1)
    }
  }

  /// Adds a token of `added_tokens`, which may be in the model's vocabulary already.
  mutating func add(_ token: String, id: Int, node: JSONNode) throws(CheckpointError) {
    if let other = idOfToken[ExactString(token)], other != id {
      throw node.error(
        "gives \(token.quoted) the id \(id), but the vocabulary says \(other). Get the file again.")
    }
    if let other = tokenOfID[id], ExactString(other) != ExactString(token) {
      throw node.error(
        "gives the id \(id) to \(token.quoted), but it belongs to \(other.quoted). "
          + "Get the file again.")
    }
    idOfToken[ExactString(token)] = id
    tokenOfID[id] = token
    size = max(size, id + 1)
  }

  func id(of token: String) -> Int? { idOfToken[ExactString(token)] }
  func token(of id: Int) -> String? { tokenOfID[id] }
}
