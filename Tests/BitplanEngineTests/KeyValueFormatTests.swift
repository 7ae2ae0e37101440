import BitplanCore
import BitplanEngine
import BitplanKernels
import Testing

/// Integer KV caches: near the float logits, the nearer the more bits, the same however the tokens
/// come.
struct KeyValueFormatTests {
  static func logits(
    _ model: Model, _ format: KeyValueFormat, chunks: [Int], threads: Int = 2
  ) throws -> [Float] {
    let session = Session(
      model, context: try Tiny.context(threads: threads), capacity: 80, keyValueFormat: format)
    let tokens = Tiny.tokens(chunks.reduce(0, +))
    var result: [Float] = []
    var begin = 0
    for count in chunks {
      result += try session.forward(Array(tokens[begin..<begin + count]), lastOnly: false).values
      begin += count
    }
    return result
  }

  @Test("8 bits lose little, 4 bits more, float nothing")
  func ranks() throws {
    let model = try Tiny.llama()
    let exact = try Self.logits(model, .float, chunks: [70])
    let scale = Tiny.magnitude(exact)
    let eight = Tiny.distance(try Self.logits(model, .int8, chunks: [70]), exact) / scale
    let four = Tiny.distance(try Self.logits(model, .int4, chunks: [70]), exact) / scale
    // A step is 1/255 or 1/15 of a head's range; errors average out over 10 features and 70 tokens.
    #expect(eight > 0 && eight < 0.01)
    #expect(four > 3 * eight && four < 0.15)
  }

  @Test(
    "token by token gives the prompt's logits: a token reads its own codes",
    arguments: [KeyValueFormat.int8, .int4])
  func cacheEqualsWhole(_ format: KeyValueFormat) throws {
    let model = try Tiny.llama(biases: true)
    let whole = try Self.logits(model, format, chunks: [70])
    let pieces = try Self.logits(
      model, format, chunks: [3] + [Int](repeating: 1, count: 27) + [40])
    // Keys differ in the last bits between one row and many, which may move a code by one step in
    // rare places; without reading the same codes the difference would be that of `ranks`.
    let float = try Self.logits(model, .float, chunks: [70])
    #expect(Tiny.distance(whole, pieces) <= 0.25 * Tiny.distance(whole, float))
  }

  @Test("any number of threads gives the same bits", arguments: [KeyValueFormat.int8, .int4])
  func threadsAgree(_ format: KeyValueFormat) throws {
    let model = try Tiny.llama()
    let one = try Self.logits(model, format, chunks: [66, 1], threads: 1).map(\.bitPattern)
    let three = try Self.logits(model, format, chunks: [66, 1], threads: 3).map(\.bitPattern)
    #expect(one == three)
  }

  @Test("values that fit the grid are kept exactly: constants, and 16 or 256 even steps")
  func exactValues() throws {
    // With every value the same, attention returns it whatever the keys: a bias alone makes it so.
    let model = try Tiny.llama(layers: 1, biases: true)
    var (weights, vectors) = (model.weights, model.vectors)
    weights[3] = .float(FloatMatrix(rows: 20, columns: 48))
    let place = try #require(
      model.architecture.vectors.firstIndex { $0.name.hasSuffix("v_proj.bias") })
    // Ten values of a head in steps of a fifteenth of their range, all exact in binary16.
    vectors[place] = FloatMatrix(
      rows: 1, columns: 20,
      values: (0..<20).map { Float([0, 15, 3, 7, 1, 12, 4, 9, 2, 8][$0 % 10]) / 16 })
    let flat = try Model(
      model.architecture, name: "", sha256: "", weights: weights, vectors: vectors,
      configurationText: model.configurationText)
    let exact = try Self.logits(flat, .float, chunks: [40])
    #expect(Tiny.distance(try Self.logits(flat, .int4, chunks: [40]), exact) <= 1e-5)
    // 255 steps do not divide fifteenths into binary16 scales exactly, but nearly.
    #expect(Tiny.distance(try Self.logits(flat, .int8, chunks: [40]), exact) <= 1e-2)
  }

  @Test("a session switches formats and forgets the sequence; encoders keep none")
  func switches() throws {
    let model = try Tiny.llama()
    let context = try Tiny.context()
    let session = Session(model, context: context, capacity: 20)
    let tokens = Tiny.tokens(10)
    let exact = try session.forward(tokens, lastOnly: false).values
    session.keyValueFormat = .int4
    #expect(session.position == 0)
    #expect(try session.forward(tokens, lastOnly: false).values != exact)
    session.keyValueFormat = .float
    #expect(try session.forward(tokens, lastOnly: false).values == exact)

    let bert = try Tiny.bert()
    let sentence = Tiny.tokens(9, vocabulary: 53)
    let plain = try Session(bert, context: context, capacity: 9).embed(sentence)
    let other = Session(bert, context: context, capacity: 9, keyValueFormat: .int4)
    #expect(try other.embed(sentence) == plain)
  }

  @Test("bytes of a head of a token")
  func bytes() {
    #expect(KeyValueFormat.allCases.map { $0.bytes(headSize: 64) } == [256, 68, 36])
  }
}
