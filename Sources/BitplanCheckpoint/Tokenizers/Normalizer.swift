import Foundation

/// What is done to a text before it is cut into words.
enum Normalizer: Sendable {
  case none
  /// Unicode normal form C.
  case composed
  case bert(BertNormalizer)

  /// Reads `normalizer`.
  init(_ node: JSONNode?) throws(CheckpointError) {
    guard let node else {
      self = .none
      return
    }
    let type = try node.required("type")
    switch try type.string() {
    case "NFC": self = .composed
    case "BertNormalizer":
      let lowercases = try node.optional("lowercase")?.boolean() ?? true
      self = .bert(
        BertNormalizer(
          cleansText: try node.optional("clean_text")?.boolean() ?? true,
          handlesChineseCharacters: try node.optional("handle_chinese_chars")?.boolean() ?? true,
          stripsAccents: try node.optional("strip_accents")?.boolean() ?? lowercases,
          lowercases: lowercases))
    case "Sequence":
      let inner = try node.required("normalizers").elements()
      guard inner.count <= 1 else {
        throw type.error("holds \(inner.count) normalizers; only one is supported.")
      }
      self = try Normalizer(inner.first)
    case let name:
      throw type.error(
        "is \(name.quoted), which is not supported; BertNormalizer, NFC and null are.")
    }
  }

  /// Whether a text may change.
  var isActive: Bool {
    if case .none = self { return false }
    return true
  }

  /// The normalised text.
  func normalize(_ bytes: [UInt8]) -> [UInt8] {
    switch self {
    case .none: return bytes
    case .bert(let normalizer): return normalizer.normalize(bytes)
    case .composed:
      // ASCII and Latin-1 text is composed already.
      guard bytes.contains(where: { $0 >= 0xC4 }) else { return bytes }
      let text = String(decoding: bytes, as: UTF8.self)
      return Array(text.precomposedStringWithCanonicalMapping.utf8)
    }
  }
}
