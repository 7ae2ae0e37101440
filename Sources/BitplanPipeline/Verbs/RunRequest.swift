internal import BitplanCheckpoint
public import BitplanCore
internal import BitplanEngine
internal import Foundation

/// What `plan run` is asked.
public struct RunRequest: Sendable {
  /// Packed or float checkpoint.
  public var path: String
  /// Text to continue or to embed.
  public var prompt: String
  /// Tokens to generate at most.
  public var tokenCount = 64
  /// 0 always takes the likeliest token.
  public var temperature = 0.0
  /// Share of probability to sample from.
  public var topP = 0.95
  /// Seed of the sampling.
  public var seed: UInt64 = 1
  /// Tokenizer file.
  public var tokenizer: String?
  /// How keys and values are kept; as the packed plan says by default.
  public var keyValueCache: KeyValueFormat?

  /// A request with the defaults.
  public init(path: String, prompt: String) {
    self.path = path
    self.prompt = prompt
  }
}

/// What running gave.
public struct RunResult: Codable, Sendable {
  /// The prompt and its continuation, for language models.
  public var text: String?
  /// The sentence embedding, for encoders.
  public var embedding: [Float]?
  /// Tokens of the prompt.
  public var promptTokens: Int
  /// Tokens generated.
  public var generatedTokens: Int
  /// Seconds to process the prompt.
  public var prefillSeconds: Double
  /// Seconds to generate all tokens.
  public var decodeSeconds: Double

  /// Speed, prefill and decode apart.
  public var closingLine: String {
    if let embedding {
      let head = embedding.prefix(6).map { Figures.significant(Double($0)) }.joined(separator: ", ")
      return "[\(head), …] \(embedding.count) values, \(promptTokens) tokens in "
        + Figures.milliseconds(prefillSeconds)
    }
    let decode = generatedTokens > 0 ? Double(generatedTokens) / decodeSeconds : 0
    return "\n\nprefill \(promptTokens) tokens, "
      + "\(Figures.significant(Double(promptTokens) / prefillSeconds)) tokens/s; decode "
      + "\(generatedTokens) tokens, \(Figures.significant(decode)) tokens/s"
  }
}
