/// JSON that people can read: arrays of nothing but numbers stand on one line.
///
/// A pretty-printer gives every number a line of its own, which turns a plan's row ranges into tens
/// of thousands of lines.
enum NumberArrays {
  /// The same JSON with the white space inside arrays of numbers, nested or not, taken out.
  static func joined(_ json: [UInt8]) -> [UInt8] {
    var result: [UInt8] = []
    result.reserveCapacity(json.count)
    var index = 0
    var isInString = false
    while index < json.count {
      let byte = json[index]
      if isInString {
        result.append(byte)
        if byte == UInt8(ascii: "\\"), index + 1 < json.count {
          index += 1
          result.append(json[index])
        } else if byte == UInt8(ascii: "\"") {
          isInString = false
        }
      } else if byte == UInt8(ascii: "["), let end = endOfNumbers(json, from: index) {
        for inner in json[index...end] where !isSpace(inner) { result.append(inner) }
        index = end
      } else {
        isInString = byte == UInt8(ascii: "\"")
        result.append(byte)
      }
      index += 1
    }
    return result
  }

  /// Where the array that starts at `start` ends, if it holds nothing but numbers and such arrays.
  private static func endOfNumbers(_ json: [UInt8], from start: Int) -> Int? {
    var depth = 0
    for index in start..<json.count {
      switch json[index] {
      case UInt8(ascii: "["): depth += 1
      case UInt8(ascii: "]"):
        depth -= 1
        if depth == 0 { return index }
      case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "+"),
        UInt8(ascii: "."), UInt8(ascii: "e"), UInt8(ascii: "E"), UInt8(ascii: ","):
        continue
      case let byte where isSpace(byte): continue
      default: return nil
      }
    }
    return nil
  }

  private static func isSpace(_ byte: UInt8) -> Bool {
    byte == UInt8(ascii: " ") || byte == UInt8(ascii: "\n")
  }
}
