internal import BitplanEngine

extension Workbench {
  /// Names of the formats of the KV cache, the exact one first.
  public static var keyValueCaches: [String] { KeyValueFormat.allCases.map(\.rawValue) }

  /// The format of the KV cache of this name.
  static func keyValueFormat(_ name: String) throws(PipelineError) -> KeyValueFormat {
    guard let format = KeyValueFormat(rawValue: name) else {
      throw PipelineError(
        .invalidInput,
        "There is no KV cache '\(name)'. Choose one of: \(keyValueCaches.joined(separator: ", ")).")
    }
    return format
  }
}
