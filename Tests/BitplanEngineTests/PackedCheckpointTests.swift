import BitplanCheckpoint
import BitplanCore
import BitplanEngine
import BitplanKernels
import BitplanTestSupport
import Foundation
import Testing

struct PackedCheckpointTests {
  /// A folder that is removed afterwards.
  static func withFolder(_ body: (URL) throws -> Void) throws {
    let folder = FileManager.default.temporaryDirectory
      .appending(path: "bitplan-packed-\(UInt64.random(in: 0 ... .max))")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: folder) }
    try body(folder)
  }

  /// Writes a packed tiny model and returns its parts.
  static func write(
    _ model: Model, to url: URL
  ) throws -> (plan: Plan, operators: [PackedOperator]) {
    let assignments = RandomPacking.assignments(for: model)
    let plan = RandomPacking.plan(model, assignments)
    let operators = try RandomPacking.operators(assignments)
    try PackedCheckpoint.write(path: url.path, plan: plan, model: model, operators: operators)
    return (plan, operators)
  }

  @Test("a packed file runs alone and gives the bits of the model in memory")
  func roundTrip() throws {
    try Self.withFolder { folder in
      let file = folder.appending(path: "tiny.packed.safetensors")
      for model in [try Tiny.llama(biases: true), try Tiny.llama(tied: true)] {
        let (plan, operators) = try Self.write(model, to: file)
        let (loaded, loadedPlan) = try PackedCheckpoint.loadWithPlan(path: file.path)
        #expect(loadedPlan == plan)
        #expect(loaded.identity == model.identity)
        #expect(loaded.operators == model.operators)
        #expect(loaded.architectureSHA256 == model.architectureSHA256)
        #expect(loaded.endTokens == model.endTokens)
        #expect(try PackedCheckpoint.isPacked(path: file.path))
        let context = try Tiny.context()
        let tokens = Tiny.tokens(20)
        let expected = try Session(
          model.replacingAll(with: operators), context: context, capacity: 20
        ).forward(tokens, lastOnly: false).values
        let actual = try Session(loaded, context: context, capacity: 20)
          .forward(tokens, lastOnly: false).values
        #expect(actual.map(\.bitPattern) == expected.map(\.bitPattern))
      }
    }
  }

  @Test("a packed encoder with prefixed names round-trips")
  func bertRoundTrip() throws {
    try Self.withFolder { folder in
      let file = folder.appending(path: "bert.packed.safetensors")
      for prefix in ["bert.", ""] {
        let model = try Tiny.bert(prefix: prefix)
        let (_, operators) = try Self.write(model, to: file)
        let loaded = try PackedCheckpoint.load(path: file.path)
        let context = try Tiny.context()
        let sentence = Tiny.tokens(20, vocabulary: 53)
        let packed = model.replacingAll(with: operators)
        #expect(
          try Session(loaded, context: context, capacity: 20).embed(sentence)
            == Session(packed, context: context, capacity: 20).embed(sentence))
      }
    }
  }

  @Test("a tokenizer packed with the model is read back, and its absence is said")
  func tokenizer() throws {
    try Self.withFolder { folder in
      let file = folder.appending(path: "tiny.packed.safetensors")
      let model = try Tiny.llama()
      let (plan, operators) = try Self.write(model, to: file)
      #expect(throws: EngineError.self) { try PackedCheckpoint.tokenizer(path: file.path) }
      let source = Fixtures.docsLlama.appending(path: "tokenizer.json")
      try PackedCheckpoint.write(
        path: file.path, plan: plan, model: model, operators: operators,
        tokenizer: try String(contentsOf: source, encoding: .utf8))
      let text = "def f(x):\n    return x**2  # Zürich"
      let expected = try Tokenizers.load(path: source.path).encode(text, addSpecialTokens: false)
      let packed = try PackedCheckpoint.tokenizer(path: file.path)
      #expect(packed.encode(text, addSpecialTokens: false) == expected)
      #expect(try PackedCheckpoint.load(path: file.path).packedBytes > 0)
    }
  }

  @Test("segments and row maps take exactly the bytes that the plan predicts")
  func bytesAreExact() throws {
    try Self.withFolder { folder in
      let file = folder.appending(path: "tiny.packed.safetensors")
      let model = try Tiny.llama()
      let (plan, operators) = try Self.write(model, to: file)
      let predicted = plan.operators.reduce(0) { $0 + $1.storedBytes }
      let stored = try Checkpoint(path: file.path).tensors.filter { $0.dataType == "U8" }
      #expect(stored.reduce(0) { $0 + $1.shape[0] } == predicted)
      #expect(model.replacingAll(with: operators).packedBytes == predicted)
      #expect(try PackedCheckpoint.load(path: file.path).packedBytes == predicted)
      #expect(model.packedBytes == 0)
    }
  }

  /// One tensor of a file that is to be written again with something changed.
  struct Part {
    var name: String
    var dataType: String
    var shape: [Int]
    var bytes: [UInt8]
  }

  /// Writes a good file, changes it, and returns what loading then says.
  static func complaint(
    _ model: Model, _ change: (inout [String: String], inout [Part]) throws -> Void
  ) throws -> String {
    var message = ""
    try withFolder { folder in
      let file = folder.appending(path: "tiny.packed.safetensors")
      _ = try write(model, to: file)
      let good = try Checkpoint(path: file.path)
      var parts: [Part] = []
      for tensor in good.tensors {
        let bytes: [UInt8]
        if tensor.dataType == "U8" {
          bytes = try good.bytes(tensor.name).withUnsafeBytes { Array($0) }
        } else {
          bytes = try good.floats(tensor.name, shape: tensor.shape).flatMap { value in
            withUnsafeBytes(of: value) { Array($0) }
          }
        }
        parts.append(
          Part(name: tensor.name, dataType: tensor.dataType, shape: tensor.shape, bytes: bytes))
      }
      // As it was written: packed bytes first, so that they stay aligned.
      parts.sort { ($0.dataType == "U8" ? 0 : 1) < ($1.dataType == "U8" ? 0 : 1) }
      var metadata = good.metadata
      try change(&metadata, &parts)
      let bad = folder.appending(path: "bad.packed.safetensors")
      try SafetensorsWriter.write(
        path: bad.path, metadata: metadata,
        entries: parts.map { part in
          SafetensorsWriter.Entry(
            name: part.name, dataType: part.dataType, shape: part.shape, byteCount: part.bytes.count
          ) { sink in try part.bytes.withUnsafeBytes(sink) }
        })
      do {
        _ = try PackedCheckpoint.load(path: bad.path)
      } catch { message = "\(error)" }
    }
    return message
  }

  @Test("a file written again unchanged loads")
  func unchangedLoads() throws {
    #expect(try Self.complaint(Tiny.llama()) { _, _ in } == "")
  }

  /// A change to a good file, and what the error must mention.
  struct Hostile: Sendable, CustomTestStringConvertible {
    let testDescription: String
    let mentions: String
    let change: @Sendable (inout [String: String], inout [Part]) throws -> Void
  }

  static let rows = "model.layers.0.self_attn.k_proj.weight.rows"

  /// Replaces text in the plan's JSON, which must be there.
  static func editPlan(_ from: String, _ to: String, mentions: String) -> Hostile {
    Hostile(testDescription: "plan: \(from) → \(to)", mentions: mentions) { metadata, _ in
      let plan = try #require(metadata["bitplan.plan"])
      try #require(plan.contains(from))
      metadata["bitplan.plan"] = plan.replacingOccurrences(of: from, with: to)
    }
  }

  static func edit(_ name: String, _ body: @escaping @Sendable (inout Part) -> Void)
    -> @Sendable (inout [String: String], inout [Part]) throws -> Void
  {
    { _, parts in
      let index = try #require(parts.firstIndex { $0.name == name })
      body(&parts[index])
    }
  }

  static let hostile: [Hostile] = [
    Hostile(testDescription: "no version", mentions: "not a packed model") { metadata, _ in
      metadata["bitplan.schemaVersion"] = nil
    },
    Hostile(testDescription: "newer version", mentions: "reads 2") { metadata, _ in
      metadata["bitplan.schemaVersion"] = "3"
    },
    Hostile(testDescription: "older version", mentions: "pack the model again") { metadata, _ in
      metadata["bitplan.schemaVersion"] = "1"
    },
    Hostile(testDescription: "no plan", mentions: "bitplan.plan") { metadata, _ in
      metadata["bitplan.plan"] = nil
    },
    Hostile(testDescription: "plan is not JSON", mentions: "cannot be read") { metadata, _ in
      metadata["bitplan.plan"] = "{"
    },
    Hostile(testDescription: "plan of a newer version", mentions: "schemaVersion 2") {
      metadata, _ in
      metadata["bitplan.plan"] = metadata["bitplan.plan"]?
        .replacingOccurrences(of: "\"schemaVersion\":1", with: "\"schemaVersion\":2")
    },
    Hostile(testDescription: "no configuration", mentions: "bitplan.config") { metadata, _ in
      metadata["bitplan.config"] = nil
    },
    Hostile(testDescription: "unknown model_type", mentions: "llama, mistral, qwen2, bert") {
      metadata, _ in
      metadata["bitplan.config"] = "{\"model_type\": \"gru\"}"
    },
    Hostile(testDescription: "configuration of more layers", mentions: "30") { metadata, _ in
      metadata["bitplan.config"] = metadata["bitplan.config"]?
        .replacingOccurrences(of: "\"num_hidden_layers\": 2", with: "\"num_hidden_layers\": 4")
    },
    Hostile(testDescription: "configuration of another width", mentions: "49") { metadata, _ in
      metadata["bitplan.config"] = metadata["bitplan.config"]?
        .replacingOccurrences(of: "\"hidden_size\": 48", with: "\"hidden_size\": 49")
    },
    Hostile(testDescription: "missing segment", mentions: "lacks") { _, parts in
      parts.removeAll { $0.name == "lm_head.weight.segment0" }
    },
    Hostile(testDescription: "missing row map", mentions: rows) { _, parts in
      parts.removeAll { $0.name == rows }
    },
    Hostile(testDescription: "missing vector", mentions: "model.norm.weight") { _, parts in
      parts.removeAll { $0.name == "model.norm.weight" }
    },
    Hostile(testDescription: "tensor that the plan does not know", mentions: "segment7") {
      _, parts in
      parts.append(
        Part(
          name: "lm_head.weight.segment7", dataType: "U8", shape: [64],
          bytes: Array(repeating: 0, count: 64)))
    },
    Hostile(
      testDescription: "short segment", mentions: "takes",
      change: edit("lm_head.weight.segment0") { part in
        part.bytes.removeLast(64)
        part.shape = [part.bytes.count]
      }),
    Hostile(
      testDescription: "segment of floats", mentions: "U8",
      change: edit("lm_head.weight.segment0") { part in
        part.dataType = "F32"
        part.shape = [part.bytes.count / 4]
      }),
    Hostile(testDescription: "misaligned segments", mentions: "multiple of 64") { _, parts in
      let index = try #require(
        parts.firstIndex { $0.dataType == "F32" && $0.bytes.count % 64 != 0 })
      parts.insert(parts.remove(at: index), at: 0)
    },
    Hostile(
      testDescription: "row map with rows in another segment", mentions: "other segments",
      change: edit(rows) { $0.bytes[0] ^= 0x10 }),
    Hostile(
      testDescription: "row map with something after the last row", mentions: "other segments",
      change: edit(rows) { $0.bytes[63] = 1 }),
    Hostile(
      testDescription: "row map of a segment that is not there", mentions: "segment",
      change: edit(rows) { $0.bytes[0] = 0xFF }),
    Hostile(testDescription: "rows left out without a digest", mentions: "other segments") {
      metadata, _ in
      metadata["bitplan.rowsSHA256"] = nil
    },
    Hostile(
      testDescription: "row map turned over", mentions: "other segments",
      change: edit(rows) { $0.bytes[1] = ~$0.bytes[1] }),
    Hostile(
      testDescription: "short row map", mentions: "map of 20 rows",
      change: edit(rows) { part in
        part.bytes = []
        part.shape = [0]
      }),
    Hostile(
      testDescription: "NaN in a vector", mentions: "NaN",
      change: edit("model.norm.weight") {
        $0.bytes.replaceSubrange(0..<4, with: [0, 0, 0xC0, 0x7F])
      }),
    Hostile(
      testDescription: "vector of another shape", mentions: "shape",
      change: edit("model.norm.weight") { part in
        part.bytes.removeLast(4)
        part.shape = [47]
      }),
    editPlan(
      "\"architecture\":\"llama\"", "\"architecture\":\"bert\"", mentions: "plan is for a 'bert'"),
    editPlan("\"name\":\"lm_head\"", "\"name\":\"head\"", mentions: "operator 'head'"),
    editPlan("\"outputFeatures\":61", "\"outputFeatures\":0", mentions: "0×48"),
    editPlan("\"inputFeatures\":48", "\"inputFeatures\":-48", mentions: "61×-48"),
    editPlan("\"rows\":[[0,61]]", "\"rows\":[]", mentions: "must have rows"),
    editPlan("\"rows\":[[0,61]]", "\"rows\":[[0,60]]", mentions: "row 60"),
    editPlan("\"rows\":[[0,61]]", "\"rows\":[[0,62]]", mentions: "0..<62 of 61"),
    editPlan(
      "\"rows\":[[0,61]]", "\"rows\":[[0,9223372036854775807]]",
      mentions: "row range [0, 9223372036854775807]"),
    editPlan(
      "\"rows\":[[0,61]]", "\"rows\":[[0,61],[60,61]]", mentions: "after the range before it"),
    editPlan(
      "\"rows\":[[0,61]]", "\"rows\":[[30,61],[0,30]]", mentions: "after the range before it"),
    editPlan("\"rows\":[[0,61]]", "\"rows\":[[61,0]]", mentions: "row range"),
    editPlan("\"int4_g32\"", "\"int4_g31\"", mentions: "int4_g31"),
    editPlan("\"int4_g32\"", "\"int5_g32\"", mentions: "int5_g32 of 61×48"),
  ]

  @Test("hostile packed files are refused with what is wrong", arguments: hostile)
  func refusesHostile(_ hostile: Hostile) throws {
    // Its biases take no multiple of 64 bytes, so that one of them can push segments out of line.
    let message = try Self.complaint(Tiny.llama(biases: true), hostile.change)
    #expect(!message.isEmpty, "the file was accepted")
    #expect(message.contains(hostile.mentions), "\(message)")
  }

  @Test("operators that are not what the plan says are not written")
  func refusesMismatchedOperators() throws {
    let model = try Tiny.llama()
    let assignments = RandomPacking.assignments(for: model)
    let plan = RandomPacking.plan(model, assignments)
    let operators = try RandomPacking.operators(assignments)
    try Self.withFolder { folder in
      let path = folder.appending(path: "never.safetensors").path
      func refused(_ plan: Plan, _ operators: [PackedOperator]) -> Bool {
        do {
          try PackedCheckpoint.write(path: path, plan: plan, model: model, operators: operators)
          return false
        } catch { return !FileManager.default.fileExists(atPath: path) }
      }
      #expect(refused(plan, Array(operators.dropLast())))
      var other = operators
      other[0] = RandomPacking.packed(.f16, model.operators[0].shape, seed: 1)
      #expect(refused(plan, other))
      other = operators
      other[2] = RandomPacking.packed(.f16, model.operators[2].shape, seed: 1)
      #expect(refused(plan, other))
      var rows = assignments
      let segments = rows[2].segments
      rows[2] = Plan.Assignment(
        name: rows[2].name, shape: rows[2].shape,
        segments: [
          .init(format: segments[0].format, rows: [0..<2, 7..<18]),
          .init(format: segments[1].format, rows: [2..<7, 18..<20]),
        ])
      #expect(refused(RandomPacking.plan(model, rows), operators))
      #expect(refused(RandomPacking.plan(model, Array(assignments.dropLast())), operators))
    }
  }
}
