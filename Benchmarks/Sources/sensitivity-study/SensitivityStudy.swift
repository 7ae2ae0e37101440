import BitplanCheckpoint
import BitplanCore
import BitplanEngine
import BitplanKernels
import BitplanPipeline
import BitplanSensitivity
import Foundation
import StudyRecords

/// Compares the ways to measure sensitivity on one language model, in one process that finds every
/// code once.
///
///     sensitivity-study MODEL [--work FOLDER] [--out FOLDER] [--random 50] [--windows 16]
///                       [--formats int2_g128,…] [--budgets 3.0,3.5,4.2,5.0] [--methods salience,…]
///                       [--interactions int2_g128,…]
///
/// `MODEL` is a folder with `calibration.txt` and `evaluation.txt` beside the checkpoint. Finished
/// passes and executed plans are kept in the work folder: a study that was stopped goes on there.
@main
struct SensitivityStudy {
  var path = ""
  var work = "sensitivity-study-work"
  var out: String?
  var formats =
    ["int2_g128", "int3_g128", "int4_g128", "int5_g128", "int6_g128", "int8_g128s"]
    .compactMap { WeightFormat(identifier: $0) }
  var budgets = [3.0, 3.5, 4.2, 5.0]
  var methods = StudyReport.methods
  var randomCount = 50
  var windowCount = 16
  /// Formats in which pairs of groups are executed, instead of comparing methods.
  var interactions: [WeightFormat] = []

  struct UsageError: Error, CustomStringConvertible { var description: String }

  static func main() throws {
    var study = SensitivityStudy()
    try study.parse(Array(CommandLine.arguments.dropFirst()))
    let run = try StudyRun(study)
    if !study.interactions.isEmpty {
      let pairs = try run.interactions(study.interactions)
      print(InteractionStudy.page(pairs))
      if let out = study.out { try InteractionStudy.write(pairs, to: out) }
      return
    }
    let report = try run.run()
    print(report.readme)
    if let out = study.out { try report.write(to: out) }
  }

  mutating func parse(_ arguments: [String]) throws {
    guard let model = arguments.first else {
      throw UsageError(description: "Use: sensitivity-study MODEL [options]")
    }
    path = model
    var rest = arguments.dropFirst()
    while let option = rest.popFirst() {
      guard let value = rest.popFirst() else {
        throw UsageError(description: "'\(option)' needs a value.")
      }
      switch option {
      case "--work": work = value
      case "--out": out = value
      case "--random": randomCount = Int(value) ?? randomCount
      case "--windows": windowCount = Int(value) ?? windowCount
      case "--formats":
        formats = value.split(separator: ",").compactMap { WeightFormat(identifier: String($0)) }
      case "--methods":
        methods = value.split(separator: ",").map(String.init)
        guard methods.allSatisfy(StudyReport.methods.contains) else {
          throw UsageError(
            description: "Choose methods from: \(StudyReport.methods.joined(separator: ", ")).")
        }
      case "--interactions":
        interactions = value.split(separator: ",").compactMap {
          WeightFormat(identifier: String($0))
        }
      case "--budgets": budgets = value.split(separator: ",").compactMap { Double($0) }
      default: throw UsageError(description: "There is no option '\(option)'.")
      }
    }
  }
}

/// A number that a study keeps so that it can go on after a stop.
struct Kept {
  private let file: URL
  private var values: [String: Double] = [:]

  init(_ file: URL) {
    self.file = file
    if let data = try? Data(contentsOf: file) {
      values = (try? JSONDecoder().decode([String: Double].self, from: data)) ?? [:]
    }
  }

  /// The number of this name, made where it is not there yet.
  mutating func value(_ name: String, _ make: () throws -> Double) throws -> Double {
    if let known = values[name] { return known }
    let value = try make()
    values[name] = value
    try JSONEncoder().encode(values).write(to: file, options: .atomic)
    return value
  }
}
