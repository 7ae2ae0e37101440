public import BitplanCore

/// Device profiles as tables that other tools write and read: comma-separated values with a header.
///
///     output_features,input_features,format,batch,seconds,joules
///     4096,4096,int4_g128,1,0.00021,0.0031
///
/// Columns come in any order; `joules` may be missing, or empty where it is not known.
public enum LatencyTable {
  /// Why a text is not a latency table.
  public struct ParsingError: Error, Hashable, Sendable, CustomStringConvertible {
    /// Line of the text, from 1.
    public let line: Int
    /// What is wrong there, then what to do.
    public let problem: String
    /// The line, then the problem.
    public var description: String { "Line \(line) of the latency table \(problem)" }
  }

  private static let columns = [
    "output_features", "input_features", "format", "batch", "seconds", "joules",
  ]
  private static let lineLimit = 1_000_000

  /// The measurements in `text`, sorted by shape, batch and format.
  public static func parse(_ text: String) throws(ParsingError) -> [DeviceProfile.Measurement] {
    let body = text.hasPrefix("\u{FEFF}") ? String(text.dropFirst()) : text
    let lines = body.split(omittingEmptySubsequences: false, whereSeparator: \.isNewline)
    guard lines.count <= lineLimit else {
      throw ParsingError(
        line: lineLimit,
        problem: "is followed by more. Split the table: \(lineLimit) lines are read.")
    }
    var order: [String: Int]?
    var measurements: [DeviceProfile.Measurement] = []
    struct Subject: Hashable {
      let format: WeightFormat
      let shape: MatrixShape
      let batch: Int
    }
    var seen: Set<Subject> = []
    for (index, line) in lines.enumerated() {
      let number = index + 1
      if line.allSatisfy(\.isWhitespace) { continue }
      let cells = line.split(separator: ",", omittingEmptySubsequences: false).map(trimmed)
      guard let order else {
        order = try header(cells, line: number)
        continue
      }
      guard cells.count == order.count else {
        throw ParsingError(
          line: number, problem: "has \(cells.count) values, and the header \(order.count) columns."
        )
      }
      let row = Row(line: number, cells: cells, order: order)
      let measurement = try row.measurement()
      let subject = Subject(
        format: measurement.format, shape: measurement.shape, batch: measurement.batch)
      guard seen.insert(subject).inserted else {
        throw ParsingError(
          line: number,
          problem: "repeats \(subject.format) at \(subject.shape), batch \(subject.batch). "
            + "Keep one line for each.")
      }
      measurements.append(measurement)
    }
    guard order != nil, !measurements.isEmpty else {
      throw ParsingError(
        line: max(1, lines.count),
        problem:
          "is its end, and it has no values. Write a header and a line for every measurement.")
    }
    return measurements.sorted(by: precedes)
  }

  /// The measurements as a table that ``parse(_:)`` reads back to the same numbers.
  public static func text(_ measurements: [DeviceProfile.Measurement]) -> String {
    let rows = measurements.sorted(by: precedes).map { m in
      [
        "\(m.shape.outputFeatures)", "\(m.shape.inputFeatures)", m.format.identifier, "\(m.batch)",
        "\(m.seconds)", m.joules.map { "\($0)" } ?? "",
      ].joined(separator: ",")
    }
    return ([columns.joined(separator: ",")] + rows).joined(separator: "\n") + "\n"
  }

  /// A profile of numbers from elsewhere.
  ///
  /// Its ceilings are what the fastest measurement reaches, as nothing else is known of the device.
  public static func profile(
    name: String, _ measurements: [DeviceProfile.Measurement]
  ) -> DeviceProfile {
    func highest(_ rate: (DeviceProfile.Measurement) -> Double?) -> Double? {
      measurements.compactMap(rate).max()
    }
    func multiplyAdds(_ m: DeviceProfile.Measurement) -> Double {
      Double(m.shape.weightCount) * Double(m.batch) / m.seconds
    }
    let bytes = highest { Double($0.format.storedBytes($0.shape)) / $0.seconds } ?? 1
    let any = highest(multiplyAdds) ?? 1
    return DeviceProfile(
      name: name, simulated: false,
      key: DeviceProfile.Key(
        cpuModel: name, instructionSet: "imported", threadCount: 1, kernelBuild: "imported"),
      peaks: DeviceProfile.Peaks(
        readBytesPerSecond: bytes, readBytesPerSecondOneThread: bytes,
        int8MultiplyAddsPerSecond: highest {
          $0.format.coding == .float16 ? nil : multiplyAdds($0)
        } ?? any,
        float32MultiplyAddsPerSecond: highest {
          $0.format.coding == .float16 ? multiplyAdds($0) : nil
        } ?? any),
      workingSetBytes: 0, measurements: measurements.sorted(by: precedes), corrections: [])
  }

  private static func header(
    _ cells: [String], line: Int
  ) throws(ParsingError) -> [String: Int] {
    var order: [String: Int] = [:]
    for (index, cell) in cells.enumerated() {
      guard columns.contains(cell), order.updateValue(index, forKey: cell) == nil else {
        throw ParsingError(
          line: line,
          problem: "is the header, and '\(cell.prefix(40))' is not a column, or one given twice. "
            + "Columns are: \(columns.joined(separator: ", ")).")
      }
    }
    for column in columns.dropLast() where order[column] == nil {
      throw ParsingError(line: line, problem: "is the header, and '\(column)' is missing.")
    }
    return order
  }

  private struct Row {
    let line: Int
    let cells: [String]
    let order: [String: Int]

    func measurement() throws(ParsingError) -> DeviceProfile.Measurement {
      let outputs = try count("output_features")
      let inputs = try count("input_features")
      guard outputs * inputs <= MatrixShape.largestWeightCount else {
        throw ParsingError(line: line, problem: "has a shape of more than 2⁵⁰ weights.")
      }
      let name = cell("format")
      guard let format = WeightFormat(identifier: name) else {
        throw ParsingError(
          line: line,
          problem: "has the format '\(name.prefix(40))'. Formats are: "
            + WeightFormat.all.map(\.identifier).joined(separator: ", ") + ".")
      }
      return DeviceProfile.Measurement(
        format: format, shape: MatrixShape(outputFeatures: outputs, inputFeatures: inputs),
        batch: try count("batch"), seconds: try amount("seconds", above: true), spreadSeconds: 0,
        repeats: 1,
        joules: cell("joules").isEmpty ? nil : try amount("joules", above: false))
    }

    private func cell(_ column: String) -> String { order[column].map { cells[$0] } ?? "" }

    private func count(_ column: String) throws(ParsingError) -> Int {
      guard let value = Int(cell(column)), (1...MatrixShape.largestSize).contains(value) else {
        throw ParsingError(
          line: line,
          problem: "has \(column) '\(cell(column).prefix(40))'. Write a whole number in "
            + "1…\(MatrixShape.largestSize).")
      }
      return value
    }

    private func amount(_ column: String, above: Bool) throws(ParsingError) -> Double {
      guard let value = Double(cell(column)), value.isFinite, above ? value > 0 : value >= 0 else {
        throw ParsingError(
          line: line,
          problem: "has \(column) '\(cell(column).prefix(40))'. Write a number that is finite and "
            + (above ? "above zero." : "not negative."))
      }
      return value
    }
  }

  private static func trimmed(_ text: Substring) -> String {
    var text = text
    while text.first?.isWhitespace == true { text.removeFirst() }
    while text.last?.isWhitespace == true { text.removeLast() }
    return String(text)
  }

  private static func precedes(
    _ a: DeviceProfile.Measurement, _ b: DeviceProfile.Measurement
  ) -> Bool {
    let left = (a.shape.outputFeatures, a.shape.inputFeatures, a.batch)
    let right = (b.shape.outputFeatures, b.shape.inputFeatures, b.batch)
    return left == right ? a.format < b.format : left < right
  }
}
