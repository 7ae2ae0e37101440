import BitplanCore
public import BitplanKernels
import Foundation

/// Chooses the next token from logits.
///
/// The same seed and the same logits give the same tokens on every machine with the same `exp`.
public struct Sampler: Sendable {
  /// How tokens are chosen.
  public struct Options: Hashable, Sendable {
    /// Divides the logits; 0 always takes the most likely token.
    public var temperature: Double
    /// Keeps the `topK` most likely tokens; 0 keeps all.
    public var topK: Int
    /// Keeps the fewest most likely tokens that together have this probability; 1 keeps all.
    public var topP: Double
    /// Start of the random numbers.
    public var seed: UInt64

    /// Always the most likely token.
    public static let greedy = Options(temperature: 0)

    /// Out-of-range values are refused by ``Sampler/init(_:)``.
    public init(temperature: Double = 1, topK: Int = 0, topP: Double = 1, seed: UInt64 = 0) {
      self.temperature = temperature
      self.topK = topK
      self.topP = topP
      self.seed = seed
    }
  }

  /// How tokens are chosen.
  public let options: Options
  private var generator: SeededGenerator

  /// Starts the random numbers.
  ///
  /// - Throws: `EngineError` when an option is out of range.
  public init(_ options: Options = .greedy) throws(EngineError) {
    guard options.temperature >= 0, options.temperature.isFinite else {
      throw EngineError(
        "temperature \(options.temperature) must be 0 (always the most likely token) or positive.")
    }
    guard options.topK >= 0 else {
      throw EngineError("top-k \(options.topK) must be positive, or 0 to keep all tokens.")
    }
    guard options.topP > 0, options.topP <= 1 else {
      throw EngineError("top-p \(options.topP) must be above 0 and at most 1.")
    }
    self.options = options
    generator = SeededGenerator(state: options.seed)
  }

  /// Chooses a token id from one row of `logits` `[≥ 1, vocabulary]`, which must be finite. Equal
  /// logits count as ordered by id.
  public mutating func sample(_ logits: FloatMatrix, row: Int = 0) -> Int {
    logits.withUnsafeBufferPointer { all in
      sample(UnsafeBufferPointer(rebasing: all[row * logits.columns..<(row + 1) * logits.columns]))
    }
  }

  private mutating func sample(_ logits: UnsafeBufferPointer<Float>) -> Int {
    var best = 0
    for id in logits.indices where logits[id] > logits[best] { best = id }
    guard options.temperature > 0 else { return best }

    let largest = Double(logits[best])
    func weight(_ id: Int) -> Double {
      exp((Double(logits[id]) - largest) / options.temperature)
    }
    guard options.topK > 0 || options.topP < 1 else {
      return draw(logits.indices.map { ($0, weight($0)) })
    }
    var ids = Array(logits.indices)
    ids.sort { logits[$0] == logits[$1] ? $0 < $1 : logits[$0] > logits[$1] }
    if options.topK > 0 { ids.removeLast(max(0, ids.count - options.topK)) }
    var candidates = ids.map { ($0, weight($0)) }
    if options.topP < 1 {
      let total = candidates.reduce(0) { $0 + $1.1 }
      var sum = 0.0
      let kept = candidates.firstIndex { candidate in
        sum += candidate.1
        return sum >= options.topP * total
      }
      if let kept { candidates.removeLast(candidates.count - kept - 1) }
    }
    return draw(candidates)
  }

  /// One of the candidates, with probability proportional to its weight.
  private mutating func draw(_ candidates: [(id: Int, weight: Double)]) -> Int {
    let total = candidates.reduce(0) { $0 + $1.weight }
    var left = Double.random(in: 0..<1, using: &generator) * total
    for candidate in candidates {
      left -= candidate.weight
      if left < 0 { return candidate.id }
    }
    return candidates.last { $0.weight > 0 }?.id ?? candidates[0].id
  }
}
