import BitplanCore
import BitplanEngine
import BitplanSensitivity
import Foundation
import StudyRecords

/// Whether groups of operators cost more together than apart.
///
/// A plan's loss is predicted as a sum over operators. Every pair of groups is therefore executed
/// together and apart in one format: operators of one role in all layers (queries, keys, … which
/// meet in one product or follow one another), and neighbouring layers.
struct InteractionStudy {
  let model: Model
  let text: StudyText
  /// Loss of a model on held-out text.
  let loss: (Model) throws -> Double

  /// What two groups lose.
  struct Pair {
    let names: (String, String)
    let format: WeightFormat
    /// Loss of each alone, and of both.
    let alone: (Double, Double)
    let together: Double

    /// What both lose beyond the sum, as a part of the sum.
    var excess: Double { together / (alone.0 + alone.1) - 1 }

    var record: Record {
      Record(
        metric: "loss of two groups beyond their sum", value: excess, unit: "1",
        conditions: ["first": names.0, "second": names.1, "format": format.identifier],
        reference: ["first": alone.0, "second": alone.1, "together": together])
    }
  }

  /// All pairs, those with the largest excess first.
  func run(_ formats: [WeightFormat], progress: (String) -> Void) throws -> [Pair] {
    var roles: [String: [Int]] = [:]
    var layers: [Int: [Int]] = [:]
    for (index, description) in model.operators.enumerated() {
      let parts = description.name.split(separator: ".")
      roles[String(parts.last ?? ""), default: []].append(index)
      if let layer = description.layer { layers[layer, default: []].append(index) }
    }
    let names = roles.keys.sorted()
    var result: [Pair] = []
    for format in formats {
      var known: [[Int]: Double] = [:]
      func loss(_ indices: [Int]) throws -> Double {
        if let value = known[indices] { return value }
        var variant = model
        for index in indices {
          variant = variant.replacing(index, with: .packed(text.variants.variant(index, format)))
        }
        let value = try self.loss(variant)
        known[indices] = value
        return value
      }
      func add(_ a: (String, [Int]), _ b: (String, [Int])) throws {
        progress("\(format) \(a.0) \(b.0)")
        result.append(
          Pair(
            names: (a.0, b.0), format: format, alone: (try loss(a.1), try loss(b.1)),
            together: try loss((a.1 + b.1).sorted())))
      }
      for (place, first) in names.enumerated() {
        for second in names.dropFirst(place + 1) {
          try add((first, roles[first] ?? []), (second, roles[second] ?? []))
        }
      }
      for layer in layers.keys.sorted().dropLast() {
        guard let here = layers[layer], let next = layers[layer + 1] else { continue }
        try add(("layer \(layer)", here), ("layer \(layer + 1)", next))
      }
    }
    return result.sorted { abs($0.excess) > abs($1.excess) }
  }

  static func write(_ pairs: [Pair], to folder: String) throws {
    try StudyReport.write(
      pairs.map(\.record), "interactions.json", page(pairs), "interactions.md", to: folder)
  }

  /// The pairs as a page.
  static func page(_ pairs: [Pair]) -> String {
    var lines = [
      "# Do groups of operators cost more together than apart?", "",
      "    swift run -c release --package-path Benchmarks sensitivity-study MODEL --interactions int2_g128,int3_g128 --out Results/sensitivity",
      "",
      "A plan's loss is predicted as a sum. Here all operators of one role, or of one layer, take a format "
        + "while the others stay float: alone, and with every other role, or with the next layer. The excess is "
        + "what both lose together beyond the sum, as a part of the sum; KL divergence in nats per token on "
        + "held-out text.",
    ]
    for format in Set(pairs.map(\.format)).sorted() {
      let here = pairs.filter { $0.format == format }
      let sorted = here.map(\.excess).sorted()
      lines += [
        "", "## \(format)", "",
        "\(here.count) pairs: median \(percent(sorted[sorted.count / 2])), from \(percent(sorted[0])) to "
          + "\(percent(sorted[sorted.count - 1])). The largest:", "",
        "| groups | first | second | together | excess |", "|---|---|---|---|---|",
      ]
      lines += here.prefix(8).map { pair in
        let losses = [pair.alone.0, pair.alone.1, pair.together]
          .map { String(format: "%.4f", $0) }.joined(separator: " | ")
        return "| \(pair.names.0), \(pair.names.1) | \(losses) | \(percent(pair.excess)) |"
      }
    }
    return lines.joined(separator: "\n") + "\n"
  }

  private static func percent(_ value: Double) -> String { String(format: "%+.1f %%", 100 * value) }
}
