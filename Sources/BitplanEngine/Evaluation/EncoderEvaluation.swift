public import BitplanKernels

/// Cosine distance of sentence embeddings to a reference's.
public struct EncoderEvaluation: Sendable {
  /// Token ids with special tokens, one array a sentence.
  public let sentences: [[Int]]

  /// Takes sentences; there must be at least one, and none may be empty.
  public init(sentences: [[Int]]) throws(EngineError) {
    guard !sentences.isEmpty, sentences.allSatisfy({ !$0.isEmpty }) else {
      throw EngineError(
        "\(sentences.count) sentences were given, of which "
          + "\(sentences.count { $0.isEmpty }) are empty. Give at least one, and none without tokens."
      )
    }
    self.sentences = sentences
  }

  /// Ids of the longest sentence.
  public var longestSentence: Int { sentences.map(\.count).max() ?? 0 }

  /// How far a model's embeddings are from a reference's.
  public struct Distance: Hashable, Sendable {
    /// 1 − cosine similarity; every sentence counts as one value and one window.
    public let cosineDistance: SampleSummary
    /// Distance of every sentence.
    public let distances: [Double]
  }

  /// Embeddings of `model`, one for every sentence.
  public func embeddings(of model: Model, _ context: KernelContext) throws(EngineError) -> [[Float]]
  {
    try embeddings(Session(model, context: context, capacity: longestSentence))
  }

  /// Embeddings of the session's model, one for every sentence.
  public func embeddings(_ session: Session) throws(EngineError) -> [[Float]] {
    var result: [[Float]] = []
    for sentence in sentences { result.append(try session.embed(sentence)) }
    return result
  }

  /// Distance of `model` from reference embeddings of the same sentences.
  public func distance(
    of model: Model, from reference: [[Float]], _ context: KernelContext
  ) throws(EngineError) -> Distance {
    try distance(Session(model, context: context, capacity: longestSentence), from: reference)
  }

  /// Distance of the session's model from reference embeddings of the same sentences.
  public func distance(
    _ session: Session, from reference: [[Float]]
  ) throws(EngineError) -> Distance {
    guard reference.count == sentences.count else {
      throw EngineError(
        "the reference has \(reference.count) embeddings for \(sentences.count) sentences. Make it "
          + "from the same sentences.")
    }
    let distances = zip(try embeddings(session), reference).map(Self.cosineDistance)
    return Distance(
      cosineDistance: SampleSummary(windows: distances.map { [$0] }), distances: distances)
  }

  /// `1 − cos(a, b)` for vectors that are not zero: `½|a/|a| − b/|b||²`, which keeps its digits
  /// when the vectors nearly agree and is exactly 0 when they do.
  public static func cosineDistance(_ a: [Float], _ b: [Float]) -> Double {
    precondition(a.count == b.count, "embeddings of one model have one width")
    func length(_ vector: [Float]) -> Double {
      vector.reduce(0) { $0 + Double($1) * Double($1) }.squareRoot()
    }
    let (lengthA, lengthB) = (length(a), length(b))
    return zip(a, b).reduce(0.0) { sum, pair in
      let difference = Double(pair.0) / lengthA - Double(pair.1) / lengthB
      return sum + difference * difference
    } / 2
  }
}
