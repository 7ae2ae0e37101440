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

  @Test("a replaced piece is the new one, and its neighbours stay")
  func replacing() throws {
    let file = try ScratchFile()
    let places = try (1...3).map { value in
      try [UInt8](repeating: UInt8(value), count: 5).withUnsafeBytes { try file.append($0) }
    }
    try [UInt8](9..<14).withUnsafeBytes { try file.replace(places[1], with: $0) }
    let read = try places.map { place in
      var bytes = [UInt8](repeating: 0, count: 5)
      try bytes.withUnsafeMutableBytes { try file.read(place, into: $0) }
      return bytes
    }
    #expect(read == [[1, 1, 1, 1, 1], [9, 10, 11, 12, 13], [3, 3, 3, 3, 3]])
  }
}
