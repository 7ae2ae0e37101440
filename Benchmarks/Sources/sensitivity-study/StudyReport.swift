import BitplanCore
import Foundation
import StudyRecords

/// What the study found, as records and as a page.
struct StudyReport {
  /// In the order of the table.
  static let methods = ["salience", "self", "masks", "plain-masks", "swap"]

  private static let titles = [
    "salience": "gradients, corrected by masked passes (the default)",
    "self": "the same on text that the model wrote itself",
    "masks": "masked passes alone: random formats",
    "plain-masks": "OHQ's masks: weights set to zero",
    "swap": "one at a time, every format (with one format a width this is also `pd-quant`)",
  ]

  /// A plan's loss.
  struct Loss {
    let bits: Double
    let predicted: Double
    let measured: Double
  }

  let study: SensitivityStudy
  var seconds: [String: Double] = [:]
  var correlation: [String: Double] = [:]
  var plans: [String: [Loss]] = [:]
  var featurePlans: [String: [Loss]] = [:]
  var random: [Loss] = []

  init(study: SensitivityStudy) { self.study = study }

  private var randomCorrelation: Double? {
    Ranks.spearman(random.map(\.predicted), random.map(\.measured))
  }

  private static func figure(_ value: Double?, _ format: String = "%.4f") -> String {
    value.map { String(format: format, $0) } ?? "–"
  }

  var readme: String {
    let budgets = study.budgets.map { "\($0) bits" }
    func table(_ first: String, _ rows: [(String, [String])], _ columns: [String]) -> [String] {
      ["| \(first) | " + columns.joined(separator: " | ") + " |"]
        + ["|---|" + columns.map { _ in "---|" }.joined()]
        + rows.map { "| \($0.0) | " + $0.1.joined(separator: " | ") + " |" }
    }
    var lines = [
      "# Sensitivity methods compared", "",
      "    swift run -c release --package-path Benchmarks sensitivity-study \\",
      "      Tests/Fixtures/docs-llama --out Results/sensitivity", "",
      "Model: the bundled docs-llama. Formats: "
        + study.formats.map(\.identifier).joined(separator: ", ")
        + ". Codes are found once, by GPTQ and descent, for all methods alike; their time is left out. "
        + "Losses are KL divergences from the float model in nats per token on \(study.windowCount) "
        + "held-out windows of 512 tokens; no plan was corrected by a check. Spearman is the rank "
        + "correlation, over all (operator, format), with the true loss of one operator quantized at a "
        + "time (`swap`, on the calibration windows).", "", "## One format an operator", "",
    ]
    lines += table(
      "method",
      study.methods.map { method in
        (
          "`\(method)`: \(Self.titles[method] ?? "")",
          [
            Self.figure(seconds[method], "%.0f"), Self.figure(correlation[method], "%.3f"),
          ] + (plans[method] ?? []).map { Self.figure($0.measured) }
        )
      }, ["CPU seconds", "Spearman with swap"] + budgets)
    lines += ["", "## Rows of one operator in several formats (predicted / measured)", ""]
    lines += table(
      "method",
      study.methods.filter { featurePlans[$0] != nil }.map { method in
        (
          "`\(method)`",
          (featurePlans[method] ?? []).map {
            Self.figure($0.predicted) + " / " + Self.figure($0.measured)
          }
        )
      }, budgets)
    let ratios = random.map { $0.measured / $0.predicted }.sorted()
    if let first = ratios.first, let last = ratios.last {
      let bits = random.map(\.bits)
      lines += [
        "", "## Random plans", "",
        "\(random.count) plans that nobody searched for, predicted by `salience`: a mean width drawn evenly from "
          + "2.5 to 6, every operator at a width drawn evenly within 1.5 of it. They store "
          + Self.figure(bits.min(), "%.2f") + " to " + Self.figure(bits.max(), "%.2f")
          + " bits per weight and lose " + Self.figure(random.map(\.measured).min()) + " to "
          + Self.figure(random.map(\.measured).max())
          + ". Spearman between predicted and measured: **"
          + Self.figure(randomCorrelation, "%.4f") + "**. Measured ÷ predicted: median "
          + Self.figure(ratios[ratios.count / 2], "%.2f") + ", from "
          + Self.figure(first, "%.2f") + " to " + Self.figure(last, "%.2f") + ".",
      ]
    }
    lines += [
      "",
      "Whether groups of operators cost more together than apart: [interactions](interactions.md).",
    ]
    return lines.joined(separator: "\n") + "\n"
  }

  private var records: [Record] {
    var result: [Record] = []
    for method in study.methods {
      let conditions = ["method": method]
      if let value = seconds[method] {
        result.append(
          Record(
            metric: "measure", value: value, unit: "CPU s", conditions: conditions, reference: [:]))
      }
      if let value = correlation[method] {
        result.append(
          Record(
            metric: "rank correlation with swap", value: value, unit: "1", conditions: conditions,
            reference: [:]))
      }
      for (granularity, plans) in [("layer", plans), ("feature", featurePlans)] {
        for (budget, loss) in zip(study.budgets, plans[method] ?? []) {
          result.append(
            Record(
              metric: "held-out loss of the plan", value: loss.measured, unit: "nats/token",
              conditions: [
                "method": method, "budget": "\(budget)bits", "granularity": granularity,
              ], reference: ["predicted": loss.predicted, "bitsPerWeight": loss.bits]))
        }
      }
    }
    for (seed, loss) in random.enumerated() {
      result.append(
        Record(
          metric: "random plan", value: loss.measured, unit: "nats/token",
          conditions: ["seed": "\(seed)"],
          reference: ["predicted": loss.predicted, "bitsPerWeight": loss.bits]))
    }
    if let value = randomCorrelation {
      result.append(
        Record(
          metric: "rank correlation over random plans", value: value, unit: "1",
          conditions: ["plans": "\(random.count)"], reference: [:]))
    }
    return result
  }

  func write(to folder: String) throws {
    try Self.write(records, "results.json", readme, "README.md", to: folder)
  }

  /// Writes records and the page about them.
  static func write(
    _ records: [Record], _ recordsName: String, _ page: String, _ pageName: String,
    to folder: String
  ) throws {
    let folder = URL(filePath: folder)
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    try records.write(to: folder.appending(path: recordsName).path)
    try Data(page.utf8).write(to: folder.appending(path: pageName))
  }
}
