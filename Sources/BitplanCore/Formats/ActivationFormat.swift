/// How the activations that meet packed weights are kept while they are multiplied.
///
/// `f16` weights are multiplied by float activations either way.
public enum ActivationFormat: String, Hashable, Sendable, Codable, CaseIterable {
  /// One signed byte, with a scale for every token and group.
  case int8
  /// Two signed bytes: the first as ``int8``, the second for what the first leaves, with a scale of
  /// its own. The error is about 250 times smaller; a token takes the arithmetic of two.
  case int16

  /// Tokens that the kernels see for each token.
  public var tokensPerToken: Int { self == .int8 ? 1 : 2 }
}
