/// Where an operator belongs in the map of layers × operator types, read from its name.
///
/// `model.layers.3.mlp.down_proj` is layer 3 of the stack `model.layers`, type `mlp.down_proj`,
/// shown as `down`. A name without a number followed by more is outside the layers.
package struct OperatorPlace: Hashable, Sendable {
  /// The name's part before the layer number, such as `model.layers`.
  package let stack: String
  /// The layer, or `nil` outside the layers.
  package let layer: Int?
  /// The name's part after the layer number, with further numbers (experts) as `*`; outside the
  /// layers, the whole name.
  package let type: String

  /// Reads a name.
  package init(name: String) {
    let parts = name.split(separator: ".", omittingEmptySubsequences: false)
    let index = parts.indices.first { index in
      index + 1 < parts.count && Self.number(parts[index]) != nil
    }
    guard let index, let layer = Self.number(parts[index]) else {
      (stack, self.layer, type) = ("", nil, name)
      return
    }
    stack = parts[..<index].joined(separator: ".")
    self.layer = layer
    type = parts[(index + 1)...]
      .map { Self.number($0) == nil ? String($0) : "*" }.joined(separator: ".")
  }

  /// Places an operator outside the layers, whatever its name looks like.
  package init(outside name: String) { (stack, layer, type) = ("", nil, name) }

  /// A short word for the type, such as `q` or `down`.
  package var label: String { Self.knownLabels[type] ?? Self.shortened(lastComponent) }

  /// Where columns with well-known labels stand, from left to right; `nil` for other types.
  package var rank: Int? { Self.order.firstIndex(of: label) }

  /// Whether the operator is a table whose rows are looked up, to judge by its name.
  package var looksLikeEmbedding: Bool {
    let last = lastComponent.lowercased()
    return layer == nil && !last.contains("out")
      && (last.contains("embed") || last == "wte" || last == "wpe")
  }

  /// Whether the operator gives the logits, to judge by its name.
  package var looksLikeHead: Bool {
    layer == nil && ["lm_head", "output", "embed_out", "head"].contains(lastComponent)
  }

  /// What follows the last dot.
  package var lastComponent: String { type.split(separator: ".").last.map(String.init) ?? type }

  /// A short name for an operator outside the layers: all of it, or what follows the last dot.
  package var outsideLabel: String { type.count <= 14 ? type : lastComponent }

  /// Types of encoders in the manner of BERT, whose last components alone do not tell them apart.
  private static let knownLabels = [
    "attention.self.query": "q", "attention.self.key": "k", "attention.self.value": "v",
    "attention.output.dense": "o", "intermediate.dense": "up", "output.dense": "down",
  ]

  private static let order = [
    "qkv", "q", "k", "v", "o", "gate_up", "gate", "up", "down",
  ]

  private static func shortened(_ component: String) -> String {
    component.hasSuffix("_proj") && component.count > 5
      ? String(component.dropLast(5)) : component
  }

  private static func number(_ part: Substring) -> Int? {
    guard !part.isEmpty, part.utf8.count <= 6,
      part.utf8.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) })
    else { return nil }
    return Int(part)
  }
}
