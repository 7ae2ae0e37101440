import BitplanCore
import BitplanEngine
import BitplanKernels
import BitplanPipeline
import BitplanQuantizers
import BitplanSensitivity
import Foundation
import StudyRecords

/// Every technique at equal stored bits: measured, searched, packed and executed on held-out text.
///
/// Records are written as they come, and those that a file already has are not measured again.
struct TechniqueStudy {
  let bench: TechniqueBench
  let budgets: [Double]
  /// Names of the techniques that run; all when empty.
  let only: Set<String>
  /// Where records are kept.
  let out: String

  func run() throws {
    var records = (try? [Record](contentsOf: out)) ?? []
    for technique in Technique.all where only.isEmpty || only.contains(technique.name) {
      let missing = budgets.filter { budget in
        !records.contains { $0.conditions == conditions(technique, budget) }
      }
      guard !missing.isEmpty else { continue }
      let changed = try bench.changed(technique.change)
      let table = try search.sensitivity(technique, changed)
      for budget in missing {
        guard let record = try measured(technique, budget, table, changed) else { continue }
        Table.line(
          [
            technique.name, "\(budget)", Table.number(record.value),
            Table.number(record.reference["predicted"] ?? 0),
          ], widths: [40, 6, 10, 10])
        records.append(record)
        try records.write(to: out)
      }
    }
  }

  private var search: TechniqueSearch { TechniqueSearch(bench: bench) }

  private func conditions(_ technique: Technique, _ budget: Double) -> [String: String] {
    ["technique": technique.name, "budget": "\(budget)bits"]
  }

  /// A record, or `nil` where no choice of formats is as small.
  private func measured(
    _ technique: Technique, _ budget: Double, _ table: SensitivityTable, _ changed: TechniqueModel
  ) throws -> Record? {
    let model = changed.model
    let weightCount = model.identity.plannedWeightCount
    let limit = (budget * Double(weightCount) / 8).rounded(.down)
    guard let plan = try search.plan(technique, storedBytes: limit, table) else { return nil }
    let packed = try search.packed(plan.operators, technique, changed)
    let report = try bench.held.report(model.replacingAll(with: packed))
    let stored = plan.operators.reduce(0) { $0 + $1.storedBytes }
    var reference = [
      "bitsPerWeight": Double(stored) * 8 / Double(weightCount),
      "standardError": report.standardError, "perplexity": report.perplexity ?? 0,
      "referencePerplexity": report.referencePerplexity ?? 0,
    ]
    reference["predicted"] = plan.predicted.klDivergenceNatsPerToken
    for branch in technique.branches {
      reference["operators with \(branch)"] = Double(
        plan.operators.count { $0.branch == branch })
    }
    for (format, share) in shares(plan.operators, weightCount) {
      reference["share of \(format)"] = share
    }
    return Record(
      metric: "klDivergenceNatsPerToken", value: report.mean, unit: "nats/token",
      conditions: conditions(technique, budget), reference: reference)
  }

  /// The share of all weights that every format gets.
  private func shares(
    _ operators: [Plan.Assignment], _ weightCount: Int
  ) -> [WeightFormat: Double] {
    var counts: [WeightFormat: Int] = [:]
    for assignment in operators {
      for segment in assignment.segments {
        let rows = segment.rows.reduce(0) { $0 + $1.count }
        counts[segment.format, default: 0] += rows * assignment.shape.inputFeatures
      }
    }
    return counts.mapValues { Double($0) / Double(weightCount) }
  }
}
