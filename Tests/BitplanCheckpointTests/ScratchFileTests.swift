import BitplanCheckpoint
import Testing

struct ScratchFileTests {
  @Test("pieces come back as they were set aside, in any order")
  func roundTrip() throws {
    let file = try ScratchFile()
    let pieces = [3, 0, 70_000, 1].map { count in
      (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ count) }
    }
    let places = try pieces.map { piece in try piece.withUnsafeBytes { try file.append($0) } }
    #expect(places.map(\.count) == pieces.map(\.count))
    for (piece, place) in zip(pieces, places).reversed() {
      var read = [UInt8](repeating: 0xAA, count: place.count)
      try read.withUnsafeMutableBytes { try file.read(place, into: $0) }
      #expect(read == piece)
    }
  }

  @Test("a place past the end is an error, not a crash")
  func pastTheEnd() throws {
    let file = try ScratchFile()
    _ = try [UInt8](repeating: 1, count: 10).withUnsafeBytes { try file.append($0) }
    var read = [UInt8](repeating: 0, count: 20)
    #expect(throws: CheckpointError.self) {
      try read.withUnsafeMutableBytes { try file.read(5..<25, into: $0) }
    }
  }
}
