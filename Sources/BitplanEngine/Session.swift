public import BitplanCore
public import BitplanKernels

/// Buffers and KV cache of one sequence.
///
/// A session is used by one thread at a time; the work inside is split over the context's pool.
/// Buffers are allocated once: by `init`, and for all logits of a prompt when its length changes.
public final class Session {
  /// The model that runs. Assigning another model of the same architecture forgets the sequence
  /// and keeps the buffers, so that many variants of a model can be tried cheaply.
  public var model: Model {
    didSet { modelDidChange(from: oldValue) }
  }
  /// Kernels and threads.
  public let context: KernelContext
  /// Tokens that fit: what was asked for, or the model's maximum where that is less.
  public let capacity: Int
  /// Tokens of the sequence so far.
  public private(set) var position = 0
  /// Called before every matrix product; `nil` costs nothing.
  public var observer: ProductObserver? {
    get { products.observer }
    set { products.observer = newValue }
  }

  /// How keys and values are kept. Assigning another format forgets the sequence.
  public var keyValueFormat: KeyValueFormat {
    didSet {
      guard keyValueFormat != oldValue else { return }
      position = 0
      options.cache = keyValueFormat
      pass = makePass()
    }
  }

  private let products: MatrixProducts
  private var options: PassOptions
  private var pass: any ForwardPass
  /// Logits of all tokens of one call; as many rows as the last such call had tokens.
  private var allLogits: FloatMatrix?
  /// `[1, vocabulary]`, or for encoders `[1, width]`.
  private let lastRow: FloatMatrix

  /// Makes the buffers.
  ///
  /// - Parameters:
  ///   - capacity: most tokens of the sequence, positive; cut to `model.maximumTokens`.
  ///   - keyValueFormat: how keys and values are kept; encoders keep none.
  ///   - chunk: most tokens of a language model that go through a layer together. Fewer take less
  ///     memory, more reuse every unpacked weight more often.
  ///   - isLayerwise: hold keys and values of one layer alone. Such a session takes whole sequences
  ///     through a layer at a time (``hiddenStates(of:beforeLayer:)``, ``run(layer:on:)``,
  ///     ``forEachLogits(of:_:)``) and cannot continue one.
  public init(
    _ model: Model, context: KernelContext, capacity: Int, keyValueFormat: KeyValueFormat = .float,
    chunk: Int = Session.largestChunk, isLayerwise: Bool = false
  ) {
    precondition(capacity > 0, "a session must hold at least one token")
    self.model = model
    self.context = context
    self.capacity = min(capacity, model.maximumTokens)
    self.keyValueFormat = keyValueFormat
    options = PassOptions(cache: keyValueFormat, chunk: chunk, isLayerwise: isLayerwise)
    products = MatrixProducts(
      weights: model.weights, inputRotations: model.inputRotations, context: context)
    pass = model.architecture.makeForwardPass(
      vectors: model.vectors, products: products, capacity: self.capacity, options: options)
    lastRow = FloatMatrix(
      rows: 1,
      columns: model.objective == .nextToken ? model.vocabularySize : pass.hidden.columns)
  }

  private func modelDidChange(from old: Model) {
    precondition(
      model.architectureSHA256 == old.architectureSHA256
        && model.maximumTokens == old.maximumTokens,
      "a session runs models of one architecture")
    position = 0
    products.weights = model.weights
    products.inputRotations = model.inputRotations
    if !zip(model.vectors, old.vectors).allSatisfy({ $0 === $1 }) {
      pass = makePass()
    }
  }

  private func makePass() -> any ForwardPass {
    model.architecture.makeForwardPass(
      vectors: model.vectors, products: products, capacity: capacity, options: options)
  }

  /// Forgets the sequence.
  public func reset() { position = 0 }

  /// Forgets everything after the first `count` tokens, so that a sequence can be continued
  /// differently.
  public func rewind(to count: Int) {
    precondition(count >= 0 && count <= position, "a session can only go back")
    position = count
  }

  /// Language models: processes `tokens` after those already seen.
  ///
  /// Long inputs go through in chunks; the result is that of one piece up to float rounding. When
  /// an error is thrown, the sequence is as it was before the call.
  ///
  /// - Parameter lastOnly: whether only the last token's logits are wanted.
  /// - Returns: logits `[tokens.count, vocabularySize]`, or `[1, vocabularySize]`. The matrix
  ///   belongs to the session and is overwritten by the next call; copy what must last.
  /// - Throws: `EngineError` for an encoder, no tokens, unknown ids, more tokens than fit, and
  ///   logits that are not finite.
  public func forward(_ tokens: [Int], lastOnly: Bool) throws(EngineError) -> FloatMatrix {
    precondition(!options.isLayerwise, "a layerwise session cannot continue a sequence")
    try check(tokens, for: .nextToken)
    return try logits(count: tokens.count, lastOnly: lastOnly) { chunk in
      pass.start(
        chunk == 0..<tokens.count ? tokens : Array(tokens[chunk]),
        position: position + chunk.lowerBound)
      return 0
    }
  }

  /// Encoders: sentence embedding of a whole sequence (mean over tokens, length 1), `[width]`.
  ///
  /// - Throws: `EngineError` for a language model, no tokens, unknown ids, more tokens than fit,
  ///   and an embedding that is not finite.
  public func embed(_ tokens: [Int]) throws(EngineError) -> [Float] {
    position = 0
    try check(tokens, for: .sentenceEmbedding)
    pass.start(tokens, position: 0)
    return try embedding(fromLayer: 0, count: tokens.count)
  }

  /// Sends what `start` wrote through the remaining layers, chunk by chunk.
  ///
  /// - Parameter start: fills `hidden` for a chunk and returns the first layer to run.
  private func logits(
    count: Int, lastOnly: Bool, start: (Range<Int>) -> Int
  ) throws(EngineError) -> FloatMatrix {
    precondition(
      !options.isLayerwise || count <= pass.chunkCapacity,
      "a layerwise session has no keys of the chunks before")
    let result = lastOnly ? lastRow : allLogitsMatrix(rows: count)
    let isOneChunk = count <= pass.chunkCapacity
    let buffer = isOneChunk || lastOnly ? result : allLogitsChunk
    var begin = 0
    while begin < count {
      let chunk = begin..<min(begin + pass.chunkCapacity, count)
      let firstLayer = start(chunk)
      for layer in firstLayer..<model.layerCount {
        pass.runLayer(layer, count: chunk.count, position: position + chunk.lowerBound)
      }
      if !lastOnly {
        pass.finish(rows: 0..<chunk.count, into: buffer)
        if !isOneChunk { copyRows(buffer, chunk.count, to: result, at: chunk.lowerBound) }
      } else if chunk.upperBound == count {
        pass.finish(rows: chunk.count - 1..<chunk.count, into: buffer)
      }
      begin = chunk.upperBound
    }
    try checkFinite(result, "logits", tokens: position..<position + count)
    position += count
    return result
  }

  private func embedding(fromLayer: Int, count: Int) throws(EngineError) -> [Float] {
    for layer in fromLayer..<model.layerCount {
      pass.runLayer(layer, count: count, position: 0)
    }
    pass.finish(rows: 0..<count, into: lastRow)
    try checkFinite(lastRow, "embedding", tokens: 0..<count)
    return lastRow.values
  }

  // MARK: Restarting from a layer

  /// The input of `layer` for `tokens` as a whole sequence: what every model that agrees with this
  /// one before `layer` computes too. The sequence is forgotten.
  ///
  /// - Throws: as ``forward(_:lastOnly:)`` for the tokens.
  public func hiddenStates(
    of tokens: [Int], beforeLayer layer: Int
  ) throws(EngineError) -> FloatMatrix {
    precondition(layer >= 0 && layer <= model.layerCount, "no such layer")
    position = 0
    try check(tokens, for: model.objective)
    let result = FloatMatrix(rows: tokens.count, columns: pass.hidden.columns)
    var begin = 0
    while begin < tokens.count {
      let chunk = begin..<min(begin + pass.chunkCapacity, tokens.count)
      pass.start(Array(tokens[chunk]), position: begin)
      copyRows(pass.hidden, chunk.count, to: result, at: begin)
      begin = chunk.upperBound
    }
    for index in 0..<layer { try run(layer: index, on: result) }
    return result
  }

  /// Sends the input of `layer` for a whole sequence, from ``hiddenStates(of:beforeLayer:)``, through
  /// that layer, in place. The sequence is forgotten. Layer by layer over many sequences, what is seen
  /// of one layer can be used before the next one runs.
  ///
  /// - Parameter states: `[tokens, width]`.
  public func run(layer: Int, on states: FloatMatrix) throws(EngineError) {
    position = 0
    try check(states, beforeLayer: layer, for: model.objective)
    var begin = 0
    while begin < states.rows {
      let chunk = begin..<min(begin + pass.chunkCapacity, states.rows)
      load(states, chunk)
      pass.runLayer(layer, count: chunk.count, position: begin)
      copyRows(pass.hidden, chunk.count, to: states, at: begin)
      begin = chunk.upperBound
    }
  }

  /// Language models: logits of a whole sequence whose last hidden states are known, a block of
  /// tokens after the other, so that memory does not grow with sequence times vocabulary. Blocks of
  /// one size give the same bits wherever states come from. The sequence is forgotten.
  ///
  /// - Parameters:
  ///   - states: `[tokens, width]`, from ``hiddenStates(of:beforeLayer:)`` with the layer count.
  ///   - body: called with the tokens of a block and their logits, in its first rows.
  public func forEachLogits(
    of states: FloatMatrix, _ body: (Range<Int>, FloatMatrix) throws(EngineError) -> Void
  ) throws(EngineError) {
    position = 0
    try check(states, beforeLayer: model.layerCount, for: .nextToken)
    var begin = 0
    while begin < states.rows {
      let chunk = begin..<min(begin + pass.chunkCapacity, states.rows)
      load(states, chunk)
      var first = 0
      while first < chunk.count {
        let rows = first..<min(first + Self.logitBlock, chunk.count)
        pass.finish(rows: rows, into: logitBlock)
        let tokens = begin + rows.lowerBound..<begin + rows.upperBound
        try checkFinite(logitBlock, "logits", tokens: tokens)
        try body(tokens, logitBlock)
        first = rows.upperBound
      }
      begin = chunk.upperBound
    }
  }

  /// Language models: logits of some tokens, at most a block, whose last hidden states are known. The
  /// matrix belongs to the session and is overwritten by the next call.
  ///
  /// - Parameter states: `[tokens, width]` of the whole sequence.
  func logits(of states: FloatMatrix, _ tokens: Range<Int>) throws(EngineError) -> FloatMatrix {
    position = 0
    precondition(tokens.count <= logitBlock.rows, "at most a block at a time")
    load(states, tokens)
    pass.finish(rows: 0..<tokens.count, into: logitBlock)
    try checkFinite(logitBlock, "logits", tokens: tokens)
    return logitBlock
  }

  /// Tokens that go through a layer together unless a session is asked for fewer.
  public static let largestChunk = DecoderPass.largestChunk

  /// Tokens of one block of logits.
  public static let logitBlock = 128

  private lazy var logitBlock = FloatMatrix(
    rows: min(Self.logitBlock, capacity), columns: model.vocabularySize)

  /// Language models: logits of a whole sequence whose input to `layer` is known; of a layerwise
  /// session at most one chunk. The sequence cannot be continued afterwards: the layers before
  /// `layer` were not run, and `position` is 0.
  ///
  /// - Parameter states: `[tokens, width]`, from ``hiddenStates(of:beforeLayer:)``.
  /// - Returns: as ``forward(_:lastOnly:)``.
  public func forward(
    from states: FloatMatrix, beforeLayer layer: Int, lastOnly: Bool
  ) throws(EngineError) -> FloatMatrix {
    position = 0
    try check(states, beforeLayer: layer, for: .nextToken)
    let result = try logits(count: states.rows, lastOnly: lastOnly) { chunk in
      load(states, chunk)
      return layer
    }
    position = 0
    return result
  }

  /// Encoders: embedding of a sequence whose input to `layer` is known.
  public func embed(from states: FloatMatrix, beforeLayer layer: Int) throws(EngineError) -> [Float]
  {
    position = 0
    try check(states, beforeLayer: layer, for: .sentenceEmbedding)
    load(states, 0..<states.rows)
    return try embedding(fromLayer: layer, count: states.rows)
  }

  private func load(_ states: FloatMatrix, _ rows: Range<Int>) {
    let width = states.columns
    withAddresses(states, pass.hidden) { states, hidden in
      hidden.update(from: states + rows.lowerBound * width, count: rows.count * width)
    }
  }

  private func copyRows(_ source: FloatMatrix, _ count: Int, to target: FloatMatrix, at row: Int) {
    let width = source.columns
    withAddresses(source, target) { source, target in
      (target + row * width).update(from: source, count: count * width)
    }
  }

  private func allLogitsMatrix(rows: Int) -> FloatMatrix {
    if let allLogits, allLogits.rows == rows { return allLogits }
    let result = FloatMatrix(rows: rows, columns: model.vocabularySize)
    allLogits = result
    return result
  }

  /// Logits of one chunk of a longer input.
  private lazy var allLogitsChunk = FloatMatrix(
    rows: pass.chunkCapacity, columns: model.vocabularySize)

  // MARK: Checks

  private func check(_ tokens: [Int], for objective: Model.Objective) throws(EngineError) {
    guard model.objective == objective else {
      throw EngineError(
        objective == .nextToken
          ? "model '\(model.identity.name)' is an encoder and has no logits. Ask it for embeddings."
          : "model '\(model.identity.name)' is a language model and has no sentence embeddings. "
            + "Ask it for logits.")
    }
    guard !tokens.isEmpty else {
      throw EngineError("no tokens were given. Give at least one.")
    }
    if let unknown = tokens.first(where: { $0 < 0 || $0 >= model.vocabularySize }) {
      throw EngineError(
        "token id \(unknown) is outside the vocabulary of \(model.vocabularySize). Check that the "
          + "tokenizer belongs to model '\(model.identity.name)'.")
    }
    try checkRoom(tokens.count)
  }

  private func check(
    _ states: FloatMatrix, beforeLayer layer: Int, for objective: Model.Objective
  ) throws(EngineError) {
    precondition(layer >= 0 && layer <= model.layerCount, "no such layer")
    precondition(states.columns == pass.hidden.columns, "states must be as wide as the model")
    precondition(model.objective == objective, "encoders embed, language models give logits")
    precondition(states.rows > 0, "no states were given")
    try checkRoom(states.rows)
  }

  private func checkRoom(_ count: Int) throws(EngineError) {
    guard position + count <= capacity else {
      throw EngineError(
        "\(count) tokens after \(position) make \(position + count), but this session holds "
          + "\(capacity) and the model \(model.maximumTokens). Shorten the text, or make a session "
          + "with a larger capacity where the model allows it.")
    }
  }

  private func checkFinite(
    _ matrix: FloatMatrix, _ what: String, tokens: Range<Int>
  ) throws(EngineError) {
    let rows = min(matrix.rows, tokens.count)
    let isFinite = matrix.withAddress { VectorMath.allFinite($0, rows * matrix.columns) }
    guard isFinite else {
      throw EngineError(
        "the \(what) of tokens \(tokens.lowerBound)..<\(tokens.upperBound) of model "
          + "'\(model.identity.name)' are not finite. Its weights overflow float32, or a plan is "
          + "too coarse for it: use wider formats.")
    }
  }
}
