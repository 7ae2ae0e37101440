public import Foundation

/// One line of a results file.
public struct Record: Codable {
  public var metric: String
  public var value: Double
  public var unit: String
  public var conditions: [String: String]
  /// What the value is compared with, such as a bound of the machine and the share reached.
  public var reference: [String: Double]

  /// Makes a record.
  public init(
    metric: String, value: Double, unit: String, conditions: [String: String],
    reference: [String: Double] = [:]
  ) {
    self.metric = metric
    self.value = value
    self.unit = unit
    self.conditions = conditions
    self.reference = reference
  }
}

extension [Record] {
  /// Reads what ``write(to:)`` wrote.
  public init(contentsOf path: String) throws {
    self = try JSONDecoder().decode([Record].self, from: Data(contentsOf: URL(filePath: path)))
  }

  /// Writes the records as JSON with sorted keys and a final newline.
  public func write(to path: String) throws {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
    var data = try encoder.encode(self)
    data.append(0x0A)
    try data.write(to: URL(filePath: path), options: .atomic)
  }
}
