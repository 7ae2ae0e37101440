import BitplanCheckpoint
import BitplanCore
import BitplanTestSupport
import Foundation
import Testing

private func entry(
  _ name: String, _ bytes: [UInt8], dataType: String = "U8", shape: [Int]? = nil, pieces: Int = 1
) -> SafetensorsWriter.Entry {
  SafetensorsWriter.Entry(
    name: name, dataType: dataType, shape: shape ?? [bytes.count], byteCount: bytes.count
  ) { sink in
    try bytes.withUnsafeBytes { buffer in
      for piece in 0..<pieces {
        let range = buffer.count * piece / pieces..<buffer.count * (piece + 1) / pieces
        try sink(UnsafeRawBufferPointer(rebasing: buffer[range]))
      }
    }
  }
}

/// An entry that produces another number of bytes than it announces.
private func liar(announces: Int, produces: Int, swallows: Bool = false) -> SafetensorsWriter.Entry
{
  SafetensorsWriter.Entry(name: "liar", dataType: "U8", shape: [announces], byteCount: announces) {
    sink in
    let bytes = [UInt8](repeating: 1, count: produces)
    if swallows {
      bytes.withUnsafeBytes { try? sink($0) }
    } else {
      try bytes.withUnsafeBytes { try sink($0) }
    }
  }
}

struct SafetensorsWriterTests {
  @Test("what is written reads back; data starts at a multiple of 64; the bytes are as documented")
  func roundTrip() throws {
    let folder = try TemporaryFolder()
    let path = folder.path("out.safetensors")
    let b = [UInt8](0..<70)
    try SafetensorsWriter.write(
      path: path, metadata: ["z": "quote \" back\\slash\n\u{1}", "a": "é"],
      entries: [
        entry("b", b, pieces: 7), entry("empty", []),
        entry("a", [0, 0, 0x80, 0x3F], dataType: "F32", shape: [1, 1]),
      ])
    let checkpoint = try Checkpoint(path: path)
    #expect(checkpoint.metadata == ["z": "quote \" back\\slash\n\u{1}", "a": "é"])
    #expect(checkpoint.tensors.map(\.name) == ["a", "b", "empty"])
    #expect(try checkpoint.floats("a", shape: [1, 1]) == [1])
    #expect(try checkpoint.bytes("b").withUnsafeBytes { Array($0) } == b)

    let bytes = Array(try Data(contentsOf: URL(filePath: path)))
    let header = bytes[0..<8].reversed().reduce(0) { $0 << 8 | Int($1) }
    #expect((8 + header) % 64 == 0)
    let text = String(decoding: bytes[8..<8 + header], as: UTF8.self)
    #expect(
      text.hasPrefix(#"{"__metadata__":{"a":"é","z":"quote \" back\\slash\u000a\u0001"},"a":{"#))
    #expect(text.contains(#""b":{"data_offsets":[0,70],"dtype":"U8","shape":[70]}"#))
    #expect(bytes.count == 8 + header + 74)
    #expect(try folder.names() == ["out.safetensors"])
  }

  static var mistakes: [(name: String, entries: [SafetensorsWriter.Entry], words: String)] {
    [
      ("too few bytes", [liar(announces: 5, produces: 4)], "produced 4, not the 5"),
      ("too many bytes", [liar(announces: 5, produces: 6)], "more than the 5"),
      ("a swallowed error", [liar(announces: 5, produces: 6, swallows: true)], "more than the 5"),
      ("a name twice", [entry("a", [1]), entry("a", [2])], "'a' appears twice"),
      ("an empty name", [entry("", [1])], "does not allow"),
      ("the reserved name", [entry("__metadata__", [1])], "does not allow"),
      ("a wrong shape", [entry("a", [1], dataType: "F32", shape: [1])], "announces 1 bytes"),
      ("an unknown type", [entry("a", [1], dataType: "Q9")], "'Q9'"),
      ("a negative shape", [entry("a", [1], shape: [-1])], "announces 1 bytes"),
      ("an impossible shape", [entry("a", [1], shape: [Int.max, 2])], "announces 1 bytes"),
    ]
  }

  @Test(
    "a mistake leaves the old file as it was and no temporary file", arguments: mistakes.indices)
  func mistake(_ index: Int) throws {
    let mistake = Self.mistakes[index]
    let folder = try TemporaryFolder()
    let path = folder.path("out.safetensors")
    try ArtifactFile.write(text: "old", path: path)
    let error = #expect(throws: CheckpointError.self) {
      try SafetensorsWriter.write(path: path, metadata: [:], entries: mistake.entries)
    }
    #expect(error?.description.contains(mistake.words) == true, "\(mistake.name): \(error as Any)")
    #expect(try folder.names() == ["out.safetensors"])
    #expect(try String(contentsOfFile: path, encoding: .utf8) == "old")
  }

  @Test("an error of the producer comes through, and the temporary file goes")
  func producerError() throws {
    struct Interrupted: Error {}
    let folder = try TemporaryFolder()
    #expect(throws: Interrupted.self) {
      try SafetensorsWriter.write(
        path: folder.path("x"), metadata: [:],
        entries: [
          entry("a", [1]),
          SafetensorsWriter.Entry(name: "b", dataType: "U8", shape: [1], byteCount: 1) { _ in
            throw Interrupted()
          },
        ])
    }
    #expect(try folder.names() == [])
  }

  @Test("targets that cannot be files are refused", arguments: ["", "missing/x", ".", "/dev/null"])
  func badTargets(_ name: String) throws {
    let folder = try TemporaryFolder()
    let path = name.hasPrefix("/") ? name : folder.path(name)
    #expect(throws: CheckpointError.self) { try ArtifactFile.write(text: "x", path: path) }
    #expect(try folder.names() == [])
  }

  @Test("a symbolic link is followed, not replaced; the longest names work")
  func links() throws {
    let folder = try TemporaryFolder()
    try ArtifactFile.write(text: "old", path: folder.path("real"))
    try FileManager.default.createSymbolicLink(
      atPath: folder.path("link"), withDestinationPath: folder.path("real"))
    try ArtifactFile.write(text: "new", path: folder.path("link"))
    #expect(try String(contentsOfFile: folder.path("real"), encoding: .utf8) == "new")
    let long = String(repeating: "n", count: 255)
    try ArtifactFile.write(text: "x", path: folder.path(long))
    #expect(try folder.names() == ["link", long, "real"].sorted())
  }
}

struct ArtifactFileTests {
  private struct Sample: Codable, Equatable {
    struct Inner: Codable, Equatable {
      var format: WeightFormat?
      var count: Int
    }
    var schemaVersion = 1
    var zeta = "a/b"
    var number = 0.1
    var operators: [Inner] = []
    var seed: UInt64? = nil
  }

  private func read(_ json: String, limit: Int = 1) throws -> Sample {
    let folder = try TemporaryFolder()
    try ArtifactFile.write(text: json, path: folder.path("model.plan.json"))
    return try ArtifactFile.read(
      Sample.self, path: folder.path("model.plan.json"), supportedSchemaVersion: limit)
  }

  @Test("values come back, and the bytes are sorted, unescaped and end in a line end")
  func roundTrip() throws {
    let folder = try TemporaryFolder()
    let path = folder.path("x.json")
    let value = Sample(operators: [Sample.Inner(format: .f16, count: 3)], seed: .max)
    try ArtifactFile.write(value, path: path)
    #expect(try ArtifactFile.read(Sample.self, path: path, supportedSchemaVersion: 1) == value)
    let text = try String(contentsOfFile: path, encoding: .utf8)
    #expect(
      text == """
        {
          "number" : 0.1,
          "operators" : [
            {
              "count" : 3,
              "format" : "f16"
            }
          ],
          "schemaVersion" : 1,
          "seed" : 18446744073709551615,
          "zeta" : "a/b"
        }

        """)
    #expect(try ArtifactFile.sha256(path: path) == ArtifactFile.sha256(text.utf8))
  }

  @Test("SHA-256 agrees with the standard's examples")
  func hashes() {
    #expect(
      ArtifactFile.sha256([])
        == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
    #expect(
      ArtifactFile.sha256("abc".utf8)
        == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
    #expect(ArtifactFile.sha256(AnySequence("abc".utf8)) == ArtifactFile.sha256("abc".utf8))
  }

  @Test("numbers that are not finite are not written")
  func nonFinite() throws {
    let folder = try TemporaryFolder()
    let error = #expect(throws: CheckpointError.self) {
      try ArtifactFile.write(Sample(number: .nan), path: folder.path("x.json"))
    }
    #expect(error?.description.contains("number") == true)
    #expect(try folder.names() == [])
  }

  static let broken: [(json: String, words: [String])] = [
    ("", ["empty"]),
    ("{", ["not valid JSON", "byte 1"]),
    ("[]", ["must be an object"]),
    (#"{"zeta":"x"}"#, ["schemaVersion", "missing"]),
    (#"{"schemaVersion":0}"#, ["schemaVersion", "at least 1"]),
    (#"{"schemaVersion":"1"}"#, ["schemaVersion", "the string '1'"]),
    (#"{"schemaVersion":9,"new":[]}"#, ["schemaVersion 9", "at most 1"]),
    (#"{"schemaVersion":1,"schemaVersion":1}"#, ["'schemaVersion' appears twice"]),
    (#"{"schemaVersion":1,"number":1,"operators":[]}"#, ["key 'zeta' is missing"]),
    (#"{"schemaVersion":1,"zeta":3,"number":1,"operators":[]}"#, ["zeta: a string is expected"]),
    (
      #"{"schemaVersion":1,"zeta":"","number":"","operators":[]}"#, ["number: a number is expected"]
    ),
    (#"{"schemaVersion":1,"zeta":"","number":1e999,"operators":[]}"#, ["too large"]),
    (#"{"schemaVersion":1,"zeta":"","number":NaN,"operators":[]}"#, ["not valid JSON"]),
    (#"{"schemaVersion":1,"zeta":"","number":1,"operators":{}}"#, ["operators: an array"]),
    (
      #"{"schemaVersion":1,"zeta":"","number":1,"operators":[{"count":1},{"count":2.5}]}"#,
      ["operators[1].count: an integer", "not the number 2.5"]
    ),
    (
      #"{"schemaVersion":1,"zeta":"","number":1,"operators":[{"count":null}]}"#,
      ["operators[0].count: an integer from", "not null"]
    ),
    (
      #"{"schemaVersion":1,"zeta":"","number":1,"operators":[{"count":1,"format":"int9"}]}"#,
      ["model.plan.json", "operators[0].format: unknown format 'int9'", "int4_g64"]
    ),
  ]

  @Test("a broken artifact is one sentence with the key path", arguments: broken.indices)
  func brokenArtifact(_ index: Int) throws {
    let (json, words) = Self.broken[index]
    let error = #expect(throws: CheckpointError.self) { try read(json) }
    for word in words {
      #expect(error?.description.contains(word) == true, "\(error?.description ?? "no error")")
    }
  }

  @Test("a missing artifact and a folder say so")
  func missing() throws {
    let folder = try TemporaryFolder()
    for (path, words) in [(folder.path("none"), "no file"), (folder.path(), "is a folder")] {
      let error = #expect(throws: CheckpointError.self) {
        try ArtifactFile.read(Sample.self, path: path, supportedSchemaVersion: 1)
      }
      #expect(error?.description.contains(words) == true)
    }
  }
}
