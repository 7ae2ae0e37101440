import BitplanCheckpoint
import BitplanCore
import BitplanTestSupport
import Foundation
import Testing

struct CheckpointTests {
  static func golden(_ name: String) -> String {
    Fixtures.folder.appending(path: "golden/\(name)").path(percentEncoded: false)
  }

  /// Writes one file of one tensor "w" and reads it as floats.
  private func floats(_ tensor: TinyCheckpoint.Tensor) throws -> [Float] {
    let folder = try TemporaryFolder()
    try TinyCheckpoint.write(folder: folder.url, tensors: [tensor])
    return try Checkpoint(path: folder.path()).floats("w", shape: tensor.shape)
  }

  @Test("a folder, its file and an index all open; names are sorted and described")
  func openings() throws {
    let folder = try Checkpoint(path: Self.golden("tiny-llama"))
    let file = try Checkpoint(path: Self.golden("tiny-llama/model.safetensors"))
    let shards = try Checkpoint(
      path: Self.golden("tiny-llama-sharded/model.safetensors.index.json"))
    #expect(folder.tensors == file.tensors)
    #expect(folder.tensors == shards.tensors)
    #expect(folder.name == "tiny-llama" && file.name == "tiny-llama")
    #expect(folder.metadata == ["format": "pt"] && shards.metadata == ["format": "pt"])
    #expect(folder.tensors.map(\.name) == folder.tensors.map(\.name).sorted())
    #expect(folder.contains("model.norm.weight") && !folder.contains("lm_head.weight"))
    #expect(folder.tensor("model.norm.weight")?.shape == [48])
    #expect(folder.tensor("model.norm.weight")?.dataType == "F32")
    #expect(FileManager.default.fileExists(atPath: file.folder + "/config.json"))
  }

  @Test("the hash does not depend on how tensors are spread over files, but on every byte")
  func hash() throws {
    let whole = try Checkpoint(path: Self.golden("tiny-llama")).sha256()
    #expect(try Checkpoint(path: Self.golden("tiny-llama-sharded")).sha256() == whole)
    #expect(try Checkpoint(path: Self.golden("tiny-llama-bf16")).sha256() != whole)

    func hash(_ tensors: [TinyCheckpoint.Tensor], _ metadata: [String: String] = [:]) throws
      -> String
    {
      let folder = try TemporaryFolder()
      try TinyCheckpoint.write(folder: folder.url, tensors: tensors, metadata: metadata)
      return try Checkpoint(path: folder.path()).sha256()
    }
    let a = TinyCheckpoint.Tensor("a", [2, 1], floats: [1, 2])
    let b = TinyCheckpoint.Tensor("b", "U8", [3], bytes: [1, 2, 3])
    let base = try hash([a, b])
    #expect(try hash([b, a], ["x": "y"]) == base)
    var changes: [[TinyCheckpoint.Tensor]] = []
    changes.append([a, TinyCheckpoint.Tensor("b", "U8", [3], bytes: [1, 2, 4])])
    changes.append([a, TinyCheckpoint.Tensor("b", "I8", [3], bytes: [1, 2, 3])])
    changes.append([a, TinyCheckpoint.Tensor("c", "U8", [3], bytes: [1, 2, 3])])
    changes.append([TinyCheckpoint.Tensor("a", [1, 2], floats: [1, 2]), b])
    changes.append([a])
    for change in changes { #expect(try hash(change) != base) }
    // Worked out by hand from the documented lines, so that the definition cannot drift.
    let line = Array("1 b U8 [3] 3\n".utf8) + [1, 2, 3]
    #expect(try hash([b]) == ArtifactFile.sha256(line))
  }

  @Test("every F16 bit pattern converts exactly, and each non-finite one is an error")
  func float16() throws {
    let finite = (UInt16.min...UInt16.max).filter { $0 & 0x7C00 != 0x7C00 }
    let values = try floats(TinyCheckpoint.Tensor("w", "F16", [finite.count], bits: finite))
    let expected = finite.map { Float(Float16(bitPattern: $0)) }
    #expect(values.map(\.bitPattern) == expected.map(\.bitPattern))
  }

  @Test("every finite BF16 bit pattern is the upper half of a float")
  func bfloat16() throws {
    let finite = (UInt16.min...UInt16.max).filter { $0 & 0x7F80 != 0x7F80 }
    let values = try floats(TinyCheckpoint.Tensor("w", "BF16", [finite.count], bits: finite))
    #expect(values.map(\.bitPattern) == finite.map { UInt32($0) << 16 })
  }

  @Test("F32 values come back bit for bit, from any alignment", arguments: 0..<4)
  func float32(padding: Int) throws {
    var generator = SeededGenerator(state: 1)
    let bits = (0..<1003).map { _ in UInt32.random(in: 0..<0x7F80_0000, using: &generator) }
    let folder = try TemporaryFolder()
    try TinyCheckpoint.write(
      folder: folder.url,
      tensors: [
        TinyCheckpoint.Tensor("a", "U8", [padding], bytes: Array(repeating: 7, count: padding)),
        TinyCheckpoint.Tensor("w", [17, 59], floats: bits.map { Float(bitPattern: $0) }),
      ])
    let checkpoint = try Checkpoint(path: folder.path())
    #expect(try checkpoint.floats("w", shape: [17, 59]).map(\.bitPattern) == bits)
    let slice = try checkpoint.bytes("a")
    #expect(slice.withUnsafeBytes { Array($0) } == Array(repeating: 7, count: padding))
  }

  @Test(
    "the first value that is not finite is named", arguments: ["F32", "F16", "BF16"],
    [0, 1, 37, 999])
  func nonFinite(_ dataType: String, _ index: Int) throws {
    let pattern: [String: (infinity: UInt32, nan: UInt32)] = [
      "F32": (0xFF80_0000, 0x7FC0_0000), "F16": (0xFC00, 0x7E00), "BF16": (0x7F80, 0xFFC1),
    ]
    let special = try #require(pattern[dataType])
    for (bits, word) in [(special.infinity, "infinite"), (special.nan, "NaN")] {
      var values = Array(repeating: UInt32(0), count: 1000)
      values[index] = bits
      values[999] = bits
      let bytes =
        dataType == "F32"
        ? TinyCheckpoint.littleEndianBytes(values)
        : TinyCheckpoint.littleEndianBytes(values.map { UInt16($0) })
      let error = #expect(throws: CheckpointError.self) {
        try floats(TinyCheckpoint.Tensor("w", dataType, [10, 100], bytes: bytes))
      }
      #expect(error?.description.contains("'w' is \(word) at index \(index).") == true)
    }
  }

  @Test("empty and scalar tensors, unknown types and a path without a folder are fine")
  func unusual() throws {
    let folder = try TemporaryFolder()
    let odd = TinyCheckpoint.Tensor("odd", "Q7_X", [3, 5], bytes: [1, 2])
    let tensors = [
      TinyCheckpoint.Tensor("empty", [0, 4], floats: []),
      TinyCheckpoint.Tensor("scalar", [], floats: [2.5]), odd,
    ]
    try TinyCheckpoint.write(
      folder: folder.url, files: ["own.safetensors": TinyCheckpoint.file(tensors)])
    let checkpoint = try Checkpoint(path: folder.path())
    #expect(checkpoint.name == "own")
    #expect(try checkpoint.floats("empty", shape: [0, 4]) == [])
    #expect(try checkpoint.floats("scalar", shape: []) == [2.5])
    #expect(throws: CheckpointError.self) { try checkpoint.floats("odd", shape: [3, 5]) }
    #expect(throws: CheckpointError.self) { try checkpoint.bytes("odd") }
  }

  @Test("tensor names that differ only in their Unicode form are two tensors")
  func exactNames() throws {
    let folder = try TemporaryFolder()
    try TinyCheckpoint.write(
      folder: folder.url,
      tensors: [
        TinyCheckpoint.Tensor("caf\u{E9}", [1], floats: [1]),
        TinyCheckpoint.Tensor("cafe\u{301}", [1], floats: [2]),
      ])
    let checkpoint = try Checkpoint(path: folder.path())
    #expect(checkpoint.tensors.count == 2)
    #expect(try checkpoint.floats("caf\u{E9}", shape: [1]) == [1])
    #expect(try checkpoint.floats("cafe\u{301}", shape: [1]) == [2])
  }

  @Test("shards in folders below the index are found, and hashed like one file")
  func nestedShards() throws {
    let folder = try TemporaryFolder()
    let tensor = TinyCheckpoint.Tensor("w", [1], floats: [3])
    try TinyCheckpoint.write(
      folder: folder.url,
      files: [
        "parts/a.safetensors": TinyCheckpoint.file([tensor]),
        "model.safetensors.index.json": Array(#"{"weight_map":{"w":"parts/a.safetensors"}}"#.utf8),
      ])
    #expect(try Checkpoint(path: folder.path()).floats("w", shape: [1]) == [3])
  }

  @Test(
    "a file without read permission says so",
    .enabled(if: NSUserName() != "root", "root may read everything"))
  func permission() throws {
    let folder = try TemporaryFolder()
    try TinyCheckpoint.write(folder: folder.url, tensors: [])
    let path = folder.path("model.safetensors")
    try FileManager.default.setAttributes([.posixPermissions: 0], ofItemAtPath: path)
    let error = #expect(throws: CheckpointError.self) { try Checkpoint(path: path) }
    #expect(error?.description.contains("permission denied") == true)
  }
}

struct ModelConfigurationTests {
  private func configuration(_ json: String) throws -> ModelConfiguration {
    let folder = try TemporaryFolder()
    try TinyCheckpoint.write(folder: folder.url, files: ["config.json": Array(json.utf8)])
    return try ModelConfiguration(path: folder.path("config.json"))
  }

  @Test("values, defaults and nulls are read with their types")
  func accessors() throws {
    let it = try configuration(
      #"{"model_type":"llama","a":8,"b":8.0,"c":null,"d":1e-5,"e":true,"f":"x","g":3.5}"#)
    #expect(it.modelType == "llama")
    #expect(try it.integer("a", in: 1...8) == 8)
    #expect(try it.integer("b", in: 1...8) == 8)
    #expect(try it.integer("c", in: 1...8, default: 4) == 4)
    #expect(try it.number("d") == 1e-5)
    #expect(try it.number("a") == 8)
    #expect(try it.number("z", default: 0.5) == 0.5)
    #expect(try it.boolean("e", default: false))
    #expect(try it.boolean("c", default: true))
    #expect(try it.string("f") == "x")
    #expect(try it.string("z", default: "y") == "y")
    #expect(it.contains("a") && !it.contains("c") && !it.contains("z"))
    #expect(throws: CheckpointError.self) { try it.integer("a", in: 1...7) }
    #expect(throws: CheckpointError.self) { try it.integer("g", in: 1...8) }
    #expect(throws: CheckpointError.self) { try it.integer("c", in: 1...8) }
    #expect(throws: CheckpointError.self) { try it.boolean("a", default: true) }
  }

  @Test("the RoPE base is found where transformers 4 and 5 write it")
  func ropeTheta() throws {
    func theta(_ rest: String) throws -> Double {
      try configuration(#"{"model_type":"llama""# + rest + "}").ropeTheta()
    }
    #expect(try theta("") == 10_000)
    #expect(try theta(#","rope_theta":5e5"#) == 500_000)
    #expect(try theta(#","rope_theta":500,"rope_scaling":null"#) == 500)
    #expect(try theta(#","rope_theta":500,"rope_scaling":{"type":"default"}"#) == 500)
    #expect(try theta(#","rope_parameters":{"rope_theta":7,"rope_type":"default"}"#) == 7)
    #expect(try theta(#","rope_theta":500,"rope_parameters":{"rope_theta":7}"#) == 7)
    #expect(try ModelConfiguration(path: CheckpointTests.golden("tiny-llama")).ropeTheta() == 5000)
    #expect(
      try ModelConfiguration(path: CheckpointTests.golden("tiny-llama-bf16")).ropeTheta() == 5000)
  }
}
