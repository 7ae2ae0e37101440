import BitplanCore
import BitplanEngine
import BitplanQuantizers
import BitplanSensitivity
import Foundation
import StudyRecords

/// What a KV cache of 8 or 4 bits loses, with and without keys smoothed against queries; weights
/// stay float, so that the cache's loss stands alone.
struct CacheStudy {
  let bench: Bench

  func run() throws -> [Record] {
    var records: [Record] = []
    Table.line(["cache", "KL, nats/token", "std. error"], widths: [44, 16, 12])
    let plain = bench.model
    let transforms = ModelTransforms(context: bench.context) { _ in bench.statistics }
    var models: [(String, Model)] = [("as trained", plain)]
    for exponent in [0.25, 0.5, 0.75] {
      let list = plain.scalingSlots.filter { $0.slot == .queryKey }.map {
        EquivalenceTransform.scaling(
          .queryKey, layer: $0.layer, ScalingRule(.maximum, inputExponent: exponent))
      }
      models.append(("keys smoothed, exponent \(exponent)", try transforms.apply(list, to: plain)))
    }
    let values = (0..<plain.layerCount).map {
      EquivalenceTransform.rotation(.value, layer: $0, seed: 1)
    }
    models.append(("values rotated", try transforms.apply(values, to: plain)))
    for format in KeyValueFormat.allCases {
      for (name, model) in models {
        if format == .float, name != "as trained" { continue }
        bench.meter.keyValueFormat = format
        let report = try bench.meter.report(model)
        Table.line(
          ["\(format.rawValue), \(name)", Self.text(report.mean), Self.text(report.standardError)],
          widths: [44, 16, 12])
        records.append(
          Record(
            metric: "klDivergenceNatsPerToken", value: report.mean, unit: "nats/token",
            conditions: ["keyValueCache": format.rawValue, "transforms": name],
            reference: ["standardError": report.standardError]))
      }
    }
    bench.meter.keyValueFormat = .float
    return records
  }

  private static func text(_ value: Double) -> String { String(format: "%.3e", value) }
}
