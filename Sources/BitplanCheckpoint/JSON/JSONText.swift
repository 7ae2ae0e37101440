/// JSON as text.
public enum JSONText {
  /// `text` without the white space between its tokens, which only people need; strings and numbers
  /// keep every byte.
  ///
  /// A `tokenizer.json` that is kept inside another file shrinks by more than half. `text` must be
  /// valid JSON (RFC 8259).
  public static func compacted(_ text: String) -> String {
    var result: [UInt8] = []
    result.reserveCapacity(text.utf8.count)
    var isInString = false
    var isEscaped = false
    for byte in text.utf8 {
      if isInString {
        if isEscaped {
          isEscaped = false
        } else if byte == UInt8(ascii: "\\") {
          isEscaped = true
        } else if byte == UInt8(ascii: "\"") {
          isInString = false
        }
      } else if byte == 0x20 || byte == 0x0A || byte == 0x0D || byte == 0x09 {
        continue
      } else if byte == UInt8(ascii: "\"") {
        isInString = true
      }
      result.append(byte)
    }
    return String(decoding: result, as: UTF8.self)
  }
}
