import BitplanCheckpoint
import BitplanCore
import BitplanEngine
import BitplanKernels
import BitplanQuantizers
import BitplanSensitivity
import Foundation
import StudyRecords

/// What techniques, transforms, cache formats and side branches are worth on one model.
///
///     quantizer-study techniques|low-widths|activations|transforms|online|cache|layers
///                     MODEL [--formats int4_g128,int3_g64] [--windows 16] [--out results.json]
///                     [--budgets 2.5,3,3.5,4.2,5] [--only 'GPTQ;clip search'] [--threads 2]
///
/// `MODEL` is a folder with `calibration.txt` and `evaluation.txt` beside the checkpoint. Rules are
/// chosen on the first text and losses reported on the second. `techniques` goes on where the file
/// of results ends.
@main
struct QuantizerStudy {
  var topic = ""
  var path = ""
  var formats = ["int4_g128", "int3_g64"].compactMap { WeightFormat(identifier: $0) }
  var windowCount = 16
  var out: String?
  var budgets = [2.5, 3, 3.5, 4.2, 5]
  var only: Set<String> = []
  var threadCount = ThreadPool.availableProcessorCount

  static func main() throws {
    var study = QuantizerStudy()
    do {
      try study.parse(Array(CommandLine.arguments.dropFirst()))
    } catch let error as UsageError {
      FileHandle.standardError.write(Data("\(error)\n".utf8))
      exit(64)
    }
    if study.topic == "layers" {
      for format in study.formats { try LayerStudy.run(format: format) }
      return
    }
    if study.topic == "techniques" || study.topic == "low-widths" {
      let bench = try TechniqueBench(
        path: study.path, windowCount: study.windowCount, threadCount: study.threadCount)
      if study.topic == "techniques" {
        try TechniqueStudy(
          bench: bench, budgets: study.budgets, only: study.only,
          out: study.out ?? "techniques.json"
        ).run()
      } else {
        let records = try LowWidthStudy(bench: bench).run()
        if let out = study.out { try records.write(to: out) }
      }
      return
    }
    let bench = try Bench(path: study.path, windowCount: study.windowCount)
    let records =
      switch study.topic {
      case "transforms": try TransformStudy(bench: bench).run(study.formats)
      case "online": try OnlineStudy(bench: bench).run(study.formats)
      case "activations": try ActivationStudy(bench: bench).run()
      default: try CacheStudy(bench: bench).run()
      }
    if let out = study.out { try records.write(to: out) }
  }

  struct UsageError: Error, CustomStringConvertible {
    var description: String
  }

  mutating func parse(_ arguments: [String]) throws {
    guard arguments.count >= 2,
      ["techniques", "low-widths", "activations", "transforms", "online", "cache", "layers"]
        .contains(arguments[0])
    else {
      throw UsageError(
        description:
          "Use: quantizer-study techniques|low-widths|activations|transforms|online|cache|layers MODEL [options]"
      )
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
      case "--only": only = Set(value.split(separator: ";").map(String.init))
      case "--budgets": budgets = value.split(separator: ",").compactMap { Double($0) }
      case "--threads": threadCount = max(1, Int(value) ?? 1)
      default: throw UsageError(description: "There is no option '\(option)'.")
      }
    }
  }
}
