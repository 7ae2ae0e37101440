import Crypto

extension SHA256 {
  /// Hashes a large region piece by piece, so that pages are touched in order.
  mutating func updateInChunks(_ bytes: UnsafeRawBufferPointer) {
    let size = 16 << 20
    var start = 0
    while start < bytes.count {
      let end = min(start + size, bytes.count)
      update(bufferPointer: UnsafeRawBufferPointer(rebasing: bytes[start..<end]))
      start = end
    }
  }
}

extension SHA256.Digest {
  /// Lower-case hex.
  var hexadecimal: String {
    let digits = Array("0123456789abcdef".utf8)
    var text: [UInt8] = []
    for byte in self {
      text.append(digits[Int(byte >> 4)])
      text.append(digits[Int(byte & 15)])
    }
    return String(decoding: text, as: UTF8.self)
  }
}
