import Foundation

/// One line of a results file.
struct Record: Codable {
  var metric: String
  var value: Double
  var unit: String
  var conditions: [String: String]
  /// What the value is compared with: a bound of the machine and the share reached.
  var reference: [String: Double]
}

extension [Record] {
  /// Writes the records as JSON with sorted keys and a final newline.
  func write(to path: String) throws {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
    var data = try encoder.encode(self)
    data.append(0x0A)
    try data.write(to: URL(filePath: path), options: .atomic)
  }
}
