import BitplanCheckpoint
import BitplanCore
import BitplanEngine
import BitplanKernels
import BitplanQuantizers
import BitplanSensitivity
import Foundation

/// What transforms, cache formats and side branches are worth on one model.
///
///     quantizer-study transforms|cache|branches|layers MODEL [--formats int4_g128,int3_g64]
///                     [--windows 16] [--out results.json]
///
/// `MODEL` is a folder with `calibration.txt` and `evaluation.txt` beside the checkpoint. Rules are
/// chosen on the first text and losses reported on the second.
@main
struct QuantizerStudy {
  var topic = ""
  var path = ""
  var formats = ["int4_g128", "int3_g64"].compactMap { WeightFormat(identifier: $0) }
  var windowCount = 16
  var out: String?

  static func main() throws {
    var study = QuantizerStudy()
    try study.parse(Array(CommandLine.arguments.dropFirst()))
    if study.topic == "layers" {
      for format in study.formats { try LayerStudy.run(format: format) }
      return
    }
    let bench = try Bench(path: study.path, windowCount: study.windowCount)
    let records =
      switch study.topic {
      case "transforms": try TransformStudy(bench: bench).run(study.formats)
      case "cache": try CacheStudy(bench: bench).run()
      default: try BranchStudy(bench: bench).run(study.formats)
      }
    if let out = study.out { try records.write(to: out) }
  }

  struct UsageError: Error, CustomStringConvertible {
    var description: String
  }

  mutating func parse(_ arguments: [String]) throws {
    guard arguments.count >= 2,
      ["transforms", "cache", "branches", "layers"].contains(arguments[0])
    else {
      throw UsageError(
        description: "Use: quantizer-study transforms|cache|branches|layers MODEL [options]")
    }
    (topic, path) = (arguments[0], arguments[1])
    var rest = arguments.dropFirst(2)
    while let option = rest.popFirst() {
      guard let value = rest.popFirst() else {
        throw UsageError(description: "'\(option)' needs a value.")
      }
      switch option {
      case "--formats":
        formats = try value.split(separator: ",").map {
          guard let format = WeightFormat(identifier: String($0)) else {
            throw UsageError(description: "'\($0)' is not a format.")
          }
          return format
        }
      case "--windows":
        guard let count = Int(value), count > 0 else {
          throw UsageError(description: "'\(value)' must be a positive number of windows.")
        }
        windowCount = count
      case "--out": out = value
      default: throw UsageError(description: "There is no option '\(option)'.")
      }
    }
  }
}

/// One line of a results file.
struct Record: Codable {
  var metric: String
  var value: Double
  var unit: String
  var conditions: [String: String]
  var reference: [String: Double] = [:]
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
