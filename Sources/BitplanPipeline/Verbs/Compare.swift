internal import BitplanCheckpoint
internal import BitplanCore
internal import BitplanEngine
internal import BitplanKernels
internal import BitplanSensitivity
internal import Foundation

/// What `plan compare` is asked.
public struct CompareRequest: Sendable {
  /// The checkpoint that is taken as the truth: float or packed.
  public var reference: String
  /// The checkpoint that is scored: float or packed, of the same vocabulary.
  public var checkpoint: String
  /// Held-out text; `evaluation.txt` beside the reference by default.
  public var evaluation: String?
  /// A `tokenizer.json`; the reference's by default.
  public var tokenizer: String?
  /// Windows of held-out text.
  public var windowCount = 16
  /// Multiply by the dequantized weights of packed checkpoints in float, so that activations are
  /// not quantized and only weights are compared.
  public var usesFloatActivations = false

  /// A request with the defaults.
  public init(reference: String, checkpoint: String) {
    self.reference = reference
    self.checkpoint = checkpoint
  }
}

/// How far one checkpoint is from another on held-out text.
public struct CompareResult: Codable, Hashable, Sendable {
  /// Name of the text.
  public let evaluation: String
  /// SHA-256 of the token windows.
  public let evaluationSHA256: String
  /// Windows, or sentences for an encoder.
  public let windowCount: Int
  /// Tokens of the longest window.
  public let windowTokens: Int
  /// Next-token predictions; absent for an encoder.
  public var predictionCount: Int?
  /// Bytes of the scored checkpoint's weight files, headers and metadata included.
  public let fileBytes: Int
  /// ``fileBytes`` × 8 ÷ weights of all operators, embedding and head included.
  public let fileBitsPerWeight: Double
  /// Mean KL(reference ‖ checkpoint).
  public var klDivergenceNatsPerToken: Double?
  /// Standard error of the mean, windows taken as independent.
  public var klDivergenceStandardError: Double?
  /// Median KL of a prediction.
  public var medianKLDivergenceNatsPerToken: Double?
  /// KL that 99 % of the predictions do not exceed.
  public var percentile99KLDivergenceNatsPerToken: Double?
  /// Share of predictions whose most likely token is the reference's.
  public var topTokenAgreementShare: Double?
  /// The checkpoint's perplexity.
  public var perplexity: Double?
  /// The reference's perplexity.
  public var referencePerplexity: Double?
  /// Mean cosine distance of sentence embeddings; encoders only.
  public var cosineDistance: Double?
  /// Its standard error.
  public var cosineDistanceStandardError: Double?

  /// The table for people.
  public var text: String {
    func row(_ name: String, _ value: Double?, digits: Int = 4) -> String? {
      guard let value else { return nil }
      return name.padding(toLength: 30, withPad: " ", startingAt: 0)
        + Figures.significant(value, digits: digits)
    }
    let size =
      "\(Figures.mebibytes(fileBytes)), \(Figures.significant(fileBitsPerWeight, digits: 4)) "
      + "bits per weight"
    let rows: [String?] = [
      "whole file                    \(size)",
      row("KL, nats/token", klDivergenceNatsPerToken),
      row("  standard error", klDivergenceStandardError, digits: 2),
      row("  median", medianKLDivergenceNatsPerToken),
      row("  99th percentile", percentile99KLDivergenceNatsPerToken),
      row("most likely token agrees, %", topTokenAgreementShare.map { $0 * 100 }),
      row("perplexity", perplexity, digits: 5),
      row("  reference", referencePerplexity, digits: 5),
      row("cosine distance", cosineDistance),
      row("  standard error", cosineDistanceStandardError, digits: 2),
      "measured on \(windowCount) windows of at most \(windowTokens) tokens of \(evaluation)",
    ]
    return rows.compactMap { $0 }.joined(separator: "\n")
  }
}

/// `plan compare`: score any checkpoint against any other of the same model.
extension Workbench {
  /// Runs both checkpoints on the same windows and compares their predictions.
  ///
  /// Packed checkpoints run as they would in use, with 8-bit activations, unless the request says
  /// otherwise; float checkpoints run in float. Language models are compared window by window, so
  /// memory does not grow with the text.
  public func compare(_ request: CompareRequest) throws(PipelineError) -> CompareResult {
    do {
      let reference = try ComparedModel(request.reference, request.usesFloatActivations)
      let candidate = try ComparedModel(request.checkpoint, request.usesFloatActivations)
      try reference.requireComparable(candidate)
      let tokenizer =
        try request.tokenizer.map { try Tokenizers.load(path: $0) } ?? reference.tokenizer()
      let text = try TextSource(
        path: request.evaluation, defaultName: "evaluation.txt", folder: reference.folder,
        option: "--evaluation")
      let length = min(
        Self.evaluationWindow, reference.model.maximumTokens, candidate.model.maximumTokens)
      let windows = try windows(
        text, tokenizer, reference.model.objective, count: request.windowCount, length: length)
      try requireTokens(windows, below: reference.model.vocabularySize)
      progress.begin("compare", total: windows.windows.count)
      var result = CompareResult(
        evaluation: windows.name, evaluationSHA256: windows.sha256,
        windowCount: windows.windows.count, windowTokens: windows.calibration.windowTokens,
        fileBytes: candidate.fileBytes, fileBitsPerWeight: candidate.fileBitsPerWeight)
      switch reference.model.objective {
      case .nextToken: try compareLanguageModels(reference, candidate, windows, &result)
      case .sentenceEmbedding: try compareEncoders(reference, candidate, windows, &result)
      }
      progress.end("\(windows.tokens.count) tokens")
      return result
    } catch {
      throw PipelineError(wrapping: error)
    }
  }

  private func windows(
    _ text: TextSource, _ tokenizer: any Tokenizer, _ objective: Model.Objective, count: Int,
    length: Int
  ) throws(PipelineError) -> TokenWindows {
    do {
      switch objective {
      case .nextToken:
        return try TokenWindows.languageModel(
          name: text.name, text: text.text, tokenizer: tokenizer, count: count, length: length,
          placement: .first)
      case .sentenceEmbedding:
        return try TokenWindows.encoder(
          name: text.name, text: text.text, tokenizer: tokenizer, count: count * 8,
          length: min(length, 128))
      }
    } catch {
      throw PipelineError(.invalidInput, error.description)
    }
  }

  /// A foreign tokenizer must not lead outside the embedding.
  private func requireTokens(
    _ windows: TokenWindows, below vocabularySize: Int
  ) throws(PipelineError) {
    if let id = windows.tokens.first(where: { $0 >= vocabularySize }) {
      throw PipelineError(
        .invalidInput,
        "The tokenizer makes token \(id), but the models know \(vocabularySize) tokens. Name the "
          + "models' own tokenizer with --tokenizer FILE.")
    }
  }

  private func compareLanguageModels(
    _ reference: ComparedModel, _ candidate: ComparedModel, _ windows: TokenWindows,
    _ result: inout CompareResult
  ) throws {
    var stopped: (any Error)?
    let evaluation = try LanguageModelEvaluation(windows: windows.windows)
    let divergence: LanguageModelEvaluation.Divergence
    do {
      divergence = try evaluation.divergence(of: candidate.model, from: reference.model, context) {
        done throws(EngineError) in
        progress.advance(done, of: windows.windows.count)
        do { try cancellation.check() } catch {
          stopped = error
          throw EngineError("stopped")
        }
      }
    } catch {
      throw stopped ?? error
    }
    result.predictionCount = divergence.predictionCount
    result.klDivergenceNatsPerToken = divergence.klDivergence.mean
    result.klDivergenceStandardError = divergence.klDivergence.standardErrorOverWindows
    result.medianKLDivergenceNatsPerToken = divergence.klDivergence.median
    result.percentile99KLDivergenceNatsPerToken = divergence.klDivergence.percentile99
    result.topTokenAgreementShare = divergence.topAgreement
    result.perplexity = divergence.perplexity
    result.referencePerplexity = divergence.referencePerplexity
  }

  private func compareEncoders(
    _ reference: ComparedModel, _ candidate: ComparedModel, _ windows: TokenWindows,
    _ result: inout CompareResult
  ) throws {
    let evaluation = try EncoderEvaluation(sentences: windows.windows)
    let embeddings = try evaluation.embeddings(of: reference.model, context)
    try cancellation.check()
    let distance = try evaluation.distance(of: candidate.model, from: embeddings, context)
      .cosineDistance
    result.cosineDistance = distance.mean
    result.cosineDistanceStandardError = distance.standardErrorOverWindows
  }
}
