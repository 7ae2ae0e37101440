/// The part of `config.json` that every architecture has; each architecture reads the rest.
///
/// Every error names the file and the key. A key whose value is null counts as absent.
public struct ModelConfiguration: Sendable {
  /// Larger files are not configurations.
  private static let sizeLimit = 16_000_000

  /// The file, as it was named.
  public let path: String
  /// `model_type`, such as `llama` or `bert`.
  public let modelType: String
  private let root: JSONValue

  /// Reads `config.json`, or the one in a folder.
  public init(path: String) throws(CheckpointError) {
    var file = path
    if FileKind(path) == .folder { file += path.hasSuffix("/") ? "config.json" : "/config.json" }
    try self.init(JSONNode(contentsOf: file, limit: Self.sizeLimit))
  }

  /// Reads the text of a `config.json` that is kept elsewhere, such as in a packed checkpoint.
  ///
  /// - Parameter name: what errors call it.
  public init(text: String, name: String) throws(CheckpointError) {
    try self.init(JSONNode(file: name, text: text))
  }

  private init(_ node: JSONNode) throws(CheckpointError) {
    path = node.file
    root = node.value
    modelType = try node.required("model_type").string()
  }

  private var node: JSONNode { JSONNode(file: path, value: root) }

  /// Whether there is such a key with a value other than null.
  public func contains(_ key: String) -> Bool { ((try? node.optional(key)) ?? nil) != nil }

  /// An integer in `range`; without a default the key must be there.
  public func integer(
    _ key: String, in range: ClosedRange<Int>, default: Int? = nil
  ) throws(CheckpointError) -> Int {
    if let `default`, try node.optional(key) == nil { return `default` }
    return try node.required(key).integer(in: range)
  }

  /// A finite number; without a default the key must be there.
  public func number(_ key: String, default: Double? = nil) throws(CheckpointError) -> Double {
    if let `default`, try node.optional(key) == nil { return `default` }
    return try node.required(key).number()
  }

  /// True or false.
  public func boolean(_ key: String, default: Bool) throws(CheckpointError) -> Bool {
    guard let value = try node.optional(key) else { return `default` }
    return try value.boolean()
  }

  /// A string; without a default the key must be there.
  public func string(_ key: String, default: String? = nil) throws(CheckpointError) -> String {
    if let `default`, try node.optional(key) == nil { return `default` }
    return try node.required(key).string()
  }

  /// RoPE base: `rope_theta` inside `rope_parameters` (transformers 5) or at the top (transformers
  /// 4), 10,000 where neither is given. Refuses scaled and partial RoPE.
  public func ropeTheta() throws(CheckpointError) -> Double {
    var theta: JSONNode?
    for key in ["rope_scaling", "rope_parameters"] {
      guard let parameters = try node.optional(key) else { continue }
      for typeKey in ["type", "rope_type"] {
        guard let type = try parameters.optional(typeKey), try type.string() != "default" else {
          continue
        }
        throw type.error(
          "is \(try type.string().quoted); only \("default".quoted) is supported. "
            + "Use a checkpoint whose positions are not scaled.")
      }
      if let factor = try parameters.optional("factor"), try factor.number() != 1 {
        throw factor.error(
          "is \(try factor.number()); scaled RoPE is not supported. "
            + "Use a checkpoint whose positions are not scaled.")
      }
      for (name, member) in try parameters.members() {
        if case .object = member.value {
          throw member.error(
            "gives layers RoPE parameters of their own (\(name.quoted)), which is not supported. "
              + "Use a checkpoint with one RoPE for all layers.")
        }
      }
      if let partial = try parameters.optional("partial_rotary_factor"), try partial.number() != 1 {
        throw partial.error("is \(try partial.number()); only 1 is supported.")
      }
      if let inner = try parameters.optional("rope_theta") { theta = inner }
    }
    if let partial = try node.optional("partial_rotary_factor"), try partial.number() != 1 {
      throw partial.error("is \(try partial.number()); only 1 is supported.")
    }
    if theta == nil { theta = try node.optional("rope_theta") }
    guard let theta else { return 10_000 }
    let value = try theta.number()
    guard value > 0 else { throw theta.error("is \(value); it must be positive.") }
    return value
  }
}
