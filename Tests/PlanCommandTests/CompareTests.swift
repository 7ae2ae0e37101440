import BitplanTestSupport
import Foundation
import Testing

/// `plan compare` as a user runs it, on tiny models.
@Suite(.serialized)
struct CompareTests {
  /// The figures that the tests look at.
  struct Figures: Decodable, Equatable {
    let evaluationSHA256: String
    let predictionCount: Int
    let fileBytes: Int
    let fileBitsPerWeight: Double
    let klDivergenceNatsPerToken: Double
    let topTokenAgreementShare: Double
    let perplexity: Double
    let referencePerplexity: Double
  }

  /// Whether two perplexities of one model agree when it was the reference once: a reference's
  /// log-probabilities are kept in single precision, so below 16 each errs by at most 2⁻²¹.
  static func agree(_ a: Double, _ b: Double) -> Bool { abs(log(a / b)) <= 0x1p-21 * 2 }

  private struct Validation: Decodable {
    struct Costs: Decodable {
      let klDivergenceNatsPerToken: Double
      let perplexity: Double
    }
    let measured: Costs
  }

  static func compare(_ folder: URL, _ arguments: [String]) throws -> Figures {
    let result = try PlanProcess.run(
      ["compare"] + arguments + ["--windows", "2", "--json"], in: folder)
    try #require(result.exitCode == 0, "\(result.errors)")
    return try JSONDecoder().decode(Figures.self, from: Data(result.output.utf8))
  }

  @Test("a checkpoint agrees with itself, and not with other weights")
  func floatCheckpoints() throws {
    let folder = try PlanProcess.temporaryFolder()
    defer { try? FileManager.default.removeItem(at: folder) }
    try TinyModel.write(to: folder.appending(path: "model"))
    try TinyModel.write(to: folder.appending(path: "other"), seed: 2)
    let same = try Self.compare(folder, ["model", "model/model.safetensors"])
    #expect(same.klDivergenceNatsPerToken == 0 && same.topTokenAgreementShare == 1)
    #expect(Self.agree(same.perplexity, same.referencePerplexity))
    #expect(same.predictionCount == 2 * 511)
    let size =
      try FileManager.default.attributesOfItem(
        atPath: folder.appending(path: "model/model.safetensors").path)[.size] as? Int
    #expect(same.fileBytes == size)
    // Tables of the embedding and the head, and two layers of 2·32·32 + 2·16·32 + 3·64·32.
    let weights = 2 * 4096 * 32 + 2 * (2 * 32 * 32 + 2 * 16 * 32 + 3 * 64 * 32)
    #expect(same.fileBitsPerWeight == Double(same.fileBytes * 8) / Double(weights))

    let other = try Self.compare(folder, ["model", "other"])
    #expect(other.klDivergenceNatsPerToken > 0 && other.topTokenAgreementShare < 1)
    #expect(other.referencePerplexity == same.referencePerplexity)
    #expect(!Self.agree(other.perplexity, same.perplexity))
    #expect(other.evaluationSHA256 == same.evaluationSHA256)
  }

  @Test("a packed checkpoint gets the loss that 'plan validate' measures")
  func packedCheckpoint() throws {
    let folder = try VerbTests.workspace()
    defer { try? FileManager.default.removeItem(at: folder) }
    #expect(try VerbTests.search(folder, ["--budget", "5.5bits"]).exitCode == 0)
    let packed = try PlanProcess.run(["pack", "model", "--plan", "model.plan.json"], in: folder)
    #expect(packed.exitCode == 0, "\(packed.errors)")
    let validated = try PlanProcess.run(
      [
        "validate", "model", "--plan", "model.plan.json", "--packed", "packed.safetensors",
        "--windows", "2", "--time-tolerance", "1000", "--loss-tolerance", "1000", "--no-uniform",
        "--json",
      ], in: folder)
    let measured = try JSONDecoder().decode(Validation.self, from: Data(validated.output.utf8))
      .measured
    let figures = try Self.compare(folder, ["model", "packed.safetensors"])
    // Validating compares with the float model whose input of down is turned, this with the one that
    // was given: the same function, rounded differently.
    let loss = measured.klDivergenceNatsPerToken
    #expect(abs(figures.klDivergenceNatsPerToken - loss) <= 1e-5 * loss)
    #expect(figures.perplexity == measured.perplexity)

    // Float activations change what the packed side computes, and nothing on the float side.
    let float = try Self.compare(folder, ["model", "packed.safetensors", "--float-activations"])
    #expect(float.klDivergenceNatsPerToken != figures.klDivergenceNatsPerToken)
    #expect(float.referencePerplexity == figures.referencePerplexity)
    #expect(float.fileBytes == figures.fileBytes)
    let itself = try Self.compare(
      folder,
      [
        "packed.safetensors", "packed.safetensors", "--float-activations", "--evaluation",
        "model/evaluation.txt",
      ])
    #expect(itself.klDivergenceNatsPerToken == 0 && itself.perplexity == float.perplexity)
    let back = try Self.compare(
      folder, ["packed.safetensors", "model", "--evaluation", "model/evaluation.txt"])
    #expect(Self.agree(back.perplexity, figures.referencePerplexity))
    #expect(Self.agree(back.referencePerplexity, figures.perplexity))
    #expect(back.evaluationSHA256 == figures.evaluationSHA256)
  }

  @Test("models of other vocabularies and foreign tokenizers are refused")
  func foreign() throws {
    let folder = try PlanProcess.temporaryFolder()
    defer { try? FileManager.default.removeItem(at: folder) }
    try TinyModel.write(to: folder.appending(path: "model"))
    let golden = Fixtures.folder.appending(path: "golden/tiny-llama").path
    let refused = try PlanProcess.run(["compare", "model", golden], in: folder)
    #expect(refused.exitCode == 65 && refused.errors.contains("tokens"), "\(refused.errors)")
    // The bundled tokenizer makes ids that the small model does not know.
    let outside = try PlanProcess.run(
      [
        "compare", golden, golden, "--tokenizer", "model/tokenizer.json", "--evaluation",
        "model/evaluation.txt",
      ], in: folder)
    #expect(outside.exitCode == 65 && outside.errors.contains("--tokenizer"), "\(outside.errors)")
  }
}
