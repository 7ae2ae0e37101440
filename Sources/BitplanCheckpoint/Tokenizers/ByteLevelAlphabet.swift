/// The reversible code of bytes as printable characters that byte-level BPE vocabularies use.
///
/// Bytes that are printable in Latin-1 stand for themselves; the other 68 are numbered from U+0100
/// on (Radford et al., GPT-2, 2019). A space becomes `Ġ`.
enum ByteLevelAlphabet {
  /// The scalar of every byte.
  static let scalarOfByte: [Unicode.Scalar] = {
    var scalars: [Unicode.Scalar] = []
    var next: UInt32 = 0x100
    for byte in UInt8.min...UInt8.max {
      if (0x21...0x7E).contains(byte) || (0xA1...0xAC).contains(byte) || byte >= 0xAE {
        scalars.append(Unicode.Scalar(byte))
      } else {
        scalars.append(Unicode.Scalar(next) ?? "\u{FFFD}")
        next += 1
      }
    }
    return scalars
  }()

  private static let byteOfScalar: [UInt32: UInt8] = {
    var bytes: [UInt32: UInt8] = [:]
    for byte in UInt8.min...UInt8.max { bytes[scalarOfByte[Int(byte)].value] = byte }
    return bytes
  }()

  /// The bytes that a token stands for, or `nil` if it has a character outside the alphabet.
  static func bytes(of token: String) -> [UInt8]? {
    var bytes: [UInt8] = []
    for scalar in token.unicodeScalars {
      guard let byte = byteOfScalar[scalar.value] else { return nil }
      bytes.append(byte)
    }
    return bytes
  }
}
