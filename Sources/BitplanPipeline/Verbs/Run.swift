internal import BitplanCheckpoint
internal import BitplanCore
internal import BitplanDevices
internal import BitplanEngine
internal import Foundation

/// `plan run`: continue a prompt, or embed a sentence.
extension Workbench {
  /// Executes a packed or float checkpoint.
  ///
  /// - Parameter onText: hears the prompt and every piece of its continuation as it comes.
  public func run(
    _ request: RunRequest, onText: (String) -> Void
  ) throws(PipelineError) -> RunResult {
    do {
      guard FileManager.default.fileExists(atPath: request.path) else {
        throw PipelineError(.missingInput, "There is no file '\(request.path)'.")
      }
      let (model, tokenizer, cache) = try opened(request)
      switch model.objective {
      case .nextToken: return try generate(model, tokenizer, request, cache, onText)
      case .sentenceEmbedding: return try embed(model, tokenizer, request)
      }
    } catch {
      throw PipelineError(wrapping: error)
    }
  }

  /// Model, tokenizer, and how keys and values are kept.
  private func opened(
    _ request: RunRequest
  ) throws -> (Model, any Tokenizer, KeyValueFormat) {
    let named = try request.tokenizer.map { try Tokenizers.load(path: $0) }
    if try PackedCheckpoint.isPacked(path: request.path) {
      let (model, plan) = try PackedCheckpoint.loadWithPlan(path: request.path)
      return (
        model, try named ?? PackedCheckpoint.tokenizer(path: request.path),
        request.keyValueCache ?? plan.keyValueCache?.format ?? .float
      )
    }
    let source = try ModelSource(path: request.path)
    return (source.model, try named ?? source.tokenizer(), request.keyValueCache ?? .float)
  }

  private func generate(
    _ model: Model, _ tokenizer: any Tokenizer, _ request: RunRequest, _ cache: KeyValueFormat,
    _ onText: (String) -> Void
  ) throws -> RunResult {
    let prompt = tokenizer.encode(request.prompt, addSpecialTokens: false)
    guard !prompt.isEmpty else {
      throw PipelineError(.invalidInput, "The prompt is empty. Write some text after --prompt.")
    }
    let capacity = min(model.maximumTokens, prompt.count + request.tokenCount)
    let session = Session(
      model, context: context, capacity: capacity,
      keyValueFormat: cache)
    var sampler = try Sampler(
      Sampler.Options(
        temperature: request.temperature, topP: request.topP, seed: request.seed))
    onText(request.prompt)
    let watch = Stopwatch()
    var prefillSeconds = 0.0
    var ids: [Int] = []
    var shown = ""
    let result = try Generation.run(
      session, prompt: prompt, maximumTokens: request.tokenCount, sampler: &sampler
    ) { token in
      if ids.isEmpty { prefillSeconds = watch.seconds }
      ids.append(token)
      // A character may take several tokens: show what is complete.
      let text = tokenizer.decode(ids)
      if text.hasPrefix(shown), !text.hasSuffix("\u{FFFD}") {
        onText(String(text.dropFirst(shown.count)))
        shown = text
      }
      return (try? cancellation.check()) != nil
    }
    try cancellation.check()
    return RunResult(
      text: request.prompt + tokenizer.decode(result.tokens), embedding: nil,
      promptTokens: prompt.count, generatedTokens: max(0, result.tokens.count - 1),
      prefillSeconds: prefillSeconds, decodeSeconds: watch.seconds - prefillSeconds)
  }

  private func embed(
    _ model: Model, _ tokenizer: any Tokenizer, _ request: RunRequest
  ) throws -> RunResult {
    let ids = tokenizer.encode(request.prompt, addSpecialTokens: true)
    let session = Session(model, context: context, capacity: ids.count)
    let watch = Stopwatch()
    let embedding = try session.embed(ids)
    return RunResult(
      text: nil, embedding: embedding, promptTokens: ids.count, generatedTokens: 0,
      prefillSeconds: watch.seconds, decodeSeconds: 0)
  }
}
