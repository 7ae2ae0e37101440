/// Writes text: a prompt goes in, one token after another comes out.
public enum Generation {
  /// Why generation ended.
  public enum End: Hashable, Sendable {
    /// A stop token was chosen; it is not among the tokens.
    case stopToken(Int)
    /// The requested number of tokens was written.
    case tokenLimit
    /// The session is full.
    case contextFull
    /// `onToken` returned `false`.
    case cancelled
  }

  /// What was written, and why it ended.
  public struct Result: Hashable, Sendable {
    /// The tokens after the prompt.
    public let tokens: [Int]
    /// Why no more came.
    public let end: End
  }

  /// Continues the session's sequence with `prompt`, then with up to `maximumTokens` tokens.
  ///
  /// - Parameters:
  ///   - stopTokens: end the text; `nil` takes the model's own ``Model/endTokens``.
  ///   - onToken: sees every token as it comes; returning `false` ends the text after it.
  /// - Throws: what ``Session/forward(_:lastOnly:)`` throws.
  public static func run(
    _ session: Session, prompt: [Int], maximumTokens: Int, sampler: inout Sampler,
    stopTokens: Set<Int>? = nil, onToken: (Int) -> Bool = { _ in true }
  ) throws(EngineError) -> Result {
    let stopTokens = stopTokens ?? Set(session.model.endTokens)
    var tokens: [Int] = []
    var input = prompt
    while tokens.count < maximumTokens {
      if !tokens.isEmpty, session.position + input.count > session.capacity {
        return Result(tokens: tokens, end: .contextFull)
      }
      let logits = try session.forward(input, lastOnly: true)
      let next = sampler.sample(logits)
      if stopTokens.contains(next) { return Result(tokens: tokens, end: .stopToken(next)) }
      tokens.append(next)
      guard onToken(next) else { return Result(tokens: tokens, end: .cancelled) }
      input = [next]
    }
    return Result(tokens: tokens, end: .tokenLimit)
  }
}
