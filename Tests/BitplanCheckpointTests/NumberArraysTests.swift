import BitplanCheckpoint
import BitplanTestSupport
import Foundation
import Testing

struct NumberArraysTests {
  struct Sample: Codable, Equatable {
    var schemaVersion = 1
    var ranges = [[0, 16], [32, 48]]
    var losses = [0.25, -1e-9, 3]
    var empty: [Int] = []
    var names = ["a [1, 2]", "quote \" and [3", "\\"]
    var mixed = [["x": [1, 2]]]
  }

  @Test("arrays of numbers stand on one line, strings and everything else stay as they are")
  func joined() throws {
    let file = FileManager.default.temporaryDirectory
      .appending(path: "numbers-\(UUID().uuidString).json")
    defer { try? FileManager.default.removeItem(at: file) }
    try ArtifactFile.write(Sample(), path: file.path)
    let text = try String(contentsOf: file, encoding: .utf8)
    #expect(text.contains("\"ranges\" : [[0,16],[32,48]]"))
    #expect(text.contains("\"losses\" : [0.25,-1e-09,3]"))
    #expect(text.contains("\"empty\" : []"))
    #expect(text.contains("\"a [1, 2]\",\n"))
    #expect(text.contains("\"x\" : [1,2]\n"))
    let back = try ArtifactFile.read(Sample.self, path: file.path, supportedSchemaVersion: 1)
    #expect(back == Sample())
  }
}
