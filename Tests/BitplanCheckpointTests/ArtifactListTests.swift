import BitplanCheckpoint
import BitplanTestSupport
import Foundation
import Testing

struct ArtifactListTests {
  struct Element: Codable {
    var name: String
    var numbers: [[Double]]
    var note: String?
  }

  struct Artifact: Codable {
    var schemaVersion = 1
    var after = "\n  \"rows\" : []"
    var rows: [Element]
    var zeros: [Int] = []
  }

  static let rows = [
    Element(name: "a\nb", numbers: [[1, 2.5], []], note: nil),
    Element(name: "\"[", numbers: [], note: "x"), Element(name: "", numbers: [[3]]),
  ]

  @Test(
    "a list that is written an element at a time gives the bytes of the whole", arguments: [1, 3])
  func sameBytes(_ count: Int) throws {
    let folder = try TemporaryFolder()
    let rows = Array(Self.rows.prefix(count))
    try ArtifactFile.write(Artifact(rows: rows), path: folder.path("whole.json"))
    try ArtifactFile.write(
      Artifact(rows: []), list: "rows", of: rows, path: folder.path("pieces.json"))
    let whole = try Data(contentsOf: URL(filePath: folder.path("whole.json")))
    #expect(try Data(contentsOf: URL(filePath: folder.path("pieces.json"))) == whole)
  }

  @Test("a list under another key is refused, and nothing is written")
  func unknownKey() throws {
    let folder = try TemporaryFolder()
    #expect(throws: CheckpointError.self) {
      try ArtifactFile.write(
        Artifact(rows: []), list: "columns", of: Self.rows, path: folder.path("none.json"))
    }
    #expect(!FileManager.default.fileExists(atPath: folder.path("none.json")))
  }
}
