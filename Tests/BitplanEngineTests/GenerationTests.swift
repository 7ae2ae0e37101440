import BitplanCore
import BitplanEngine
import BitplanKernels
import Foundation
import Testing

struct GenerationTests {
  static let logits = FloatMatrix(rows: 1, columns: 5, values: [1, 3, 2, 3, -1])

  @Test("greedy takes the first of the most likely tokens")
  func greedy() throws {
    var sampler = try Sampler()
    #expect((0..<5).map { _ in sampler.sample(Self.logits) } == [1, 1, 1, 1, 1])
  }

  @Test("frequencies follow the softmax at the temperature", arguments: [0.5, 1, 2])
  func followsSoftmax(_ temperature: Double) throws {
    var sampler = try Sampler(.init(temperature: temperature, seed: 5))
    var counts = [Double](repeating: 0, count: 5)
    let draws = 20_000
    for _ in 0..<draws { counts[sampler.sample(Self.logits)] += 1 }
    let weights = [1, 3, 2, 3, -1].map { exp($0 / temperature) }
    for (count, weight) in zip(counts, weights) {
      let p = weight / weights.reduce(0, +)
      // Five standard deviations of a binomial count; the seed is fixed.
      #expect(abs(count - Double(draws) * p) < 5 * (Double(draws) * p * (1 - p)).squareRoot() + 1)
    }
  }

  @Test("top-k and top-p keep the most likely tokens only")
  func truncates() throws {
    func drawn(_ options: Sampler.Options) throws -> Set<Int> {
      var sampler = try Sampler(options)
      return Set((0..<500).map { _ in sampler.sample(Self.logits) })
    }
    #expect(try drawn(.init(temperature: 5, topK: 1)) == [1])
    #expect(try drawn(.init(temperature: 5, topK: 2)) == [1, 3])
    #expect(try drawn(.init(temperature: 5, topK: 3)) == [1, 2, 3])
    #expect(try drawn(.init(temperature: 5, topK: 99)) == [0, 1, 2, 3, 4])
    // Probabilities at temperature 1: 0.40, 0.40, 0.15, 0.05, 0.01.
    #expect(try drawn(.init(topP: 0.3)) == [1])
    #expect(try drawn(.init(topP: 0.5)) == [1, 3])
    #expect(try drawn(.init(topP: 0.9)) == [1, 2, 3])
  }

  @Test("a seed repeats its tokens, another gives others")
  func isSeeded() throws {
    func drawn(_ seed: UInt64) throws -> [Int] {
      var sampler = try Sampler(.init(temperature: 3, seed: seed))
      return (0..<40).map { _ in sampler.sample(Self.logits) }
    }
    #expect(try drawn(1) == drawn(1))
    #expect(try drawn(1) != drawn(2))
  }

  @Test("options out of range are refused")
  func refusesOptions() {
    for options in [
      Sampler.Options(temperature: -1), .init(temperature: .nan), .init(temperature: .infinity),
      .init(topK: -1), .init(topP: 0), .init(topP: 1.5), .init(topP: .nan),
    ] {
      #expect(throws: EngineError.self) { try Sampler(options) }
    }
  }

  @Test("generation continues greedily, stops at stop tokens, limits and a full context")
  func generates() throws {
    let model = try Tiny.llama(maximumTokens: 24)
    let context = try Tiny.context()
    let session = Session(model, context: context, capacity: 24)
    let prompt = Tiny.tokens(8)
    var sampler = try Sampler()

    // What greedy decoding without a cache gives.
    var expected: [Int] = []
    for _ in 0..<10 {
      session.reset()
      let logits = try session.forward(prompt + expected, lastOnly: true)
      expected.append(sampler.sample(logits))
    }
    session.reset()
    let result = try Generation.run(
      session, prompt: prompt, maximumTokens: 10, sampler: &sampler, stopTokens: [])
    #expect(result.tokens == expected)
    #expect(result.end == .tokenLimit)

    session.reset()
    let full = try Generation.run(
      session, prompt: prompt, maximumTokens: 100, sampler: &sampler, stopTokens: [])
    #expect(full.end == .contextFull)
    #expect(full.tokens.count == 24 - 8 + 1)

    session.reset()
    let stop = expected[4]
    let stopped = try Generation.run(
      session, prompt: prompt, maximumTokens: 10, sampler: &sampler, stopTokens: [stop])
    #expect(stopped.end == .stopToken(stop))
    #expect(stopped.tokens == Array(expected.prefix { $0 != stop }))

    session.reset()
    var seen: [Int] = []
    let cancelled = try Generation.run(
      session, prompt: prompt, maximumTokens: 10, sampler: &sampler, stopTokens: []
    ) { token in
      seen.append(token)
      return seen.count < 3
    }
    #expect(cancelled.end == .cancelled)
    #expect(seen == Array(expected.prefix(3)) && cancelled.tokens == seen)
  }
}
