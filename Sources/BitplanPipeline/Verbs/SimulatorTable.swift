internal import BitplanDevices
internal import Foundation

/// One figure, in the form that `Results` keeps.
public struct ResultRecord: Codable, Hashable, Sendable {
  /// What it is.
  public let metric: String
  /// Its value.
  public let value: Double
  /// Its unit; `1` for a ratio.
  public let unit: String
  /// What it holds for.
  public let conditions: [String: String]
  /// What it is compared with, where there is something.
  public let reference: [String: Double]
}

/// The MixPE paper's comparison, as published and corrected, side by side.
public struct SimulatorTable: Sendable {
  private let tables: [PublishedComparison]

  /// Runs both models: some seconds.
  public init() throws(PipelineError) {
    do {
      tables = try PublishedComparison.Mode.allCases.map {
        try PublishedComparison($0, devices: DeviceCatalog.devices)
      }
    } catch {
      throw PipelineError(wrapping: error)
    }
  }

  /// Every figure.
  public var records: [ResultRecord] {
    var records: [ResultRecord] = []
    for table in tables {
      for entry in table.entries {
        func add(_ metric: String, _ value: Double, _ unit: String) {
          records.append(
            ResultRecord(
              metric: metric, value: value, unit: unit,
              conditions: [
                "mode": table.mode.rawValue, "network": entry.network.rawValue,
                "design": entry.design.rawValue, "batch": "\(PublishedComparison.batch)",
              ], reference: [:]))
        }
        add("cycles", Double(entry.cycles), "cycles")
        add("timeRelativeToFP16", entry.relativeTime, "1")
        add("energyJoules", entry.energy.joules, "J")
        add("energyRelativeToFP16", entry.relativeEnergy.joules, "1")
        add("staticEnergyRelativeToFP16", entry.relativeEnergy.staticJoules, "1")
        add("memoryEnergyRelativeToFP16", entry.relativeEnergy.memoryJoules, "1")
        add("bufferEnergyRelativeToFP16", entry.relativeEnergy.bufferJoules, "1")
        add("coreEnergyRelativeToFP16", entry.relativeEnergy.coreJoules, "1")
      }
      for other in PublishedComparison.Design.allCases where other != .mixPEW4A8 {
        let gain = table.gain(of: .mixPEW4A8, over: other)
        for (metric, value) in [("speedUp", gain.time), ("energyGain", gain.energy)] {
          records.append(
            ResultRecord(
              metric: metric, value: value, unit: "1",
              conditions: [
                "mode": table.mode.rawValue, "design": "MixPE-W4A8", "over": other.rawValue,
                "networks": "mean of 4",
              ], reference: [:]))
        }
      }
    }
    return records
  }

  /// Tables in Markdown.
  public var markdown: String {
    var lines: [String] = []
    let designs = PublishedComparison.Design.allCases
    for table in tables {
      let title = table.mode == .asPublished ? "As published" : "Corrected"
      for (quantity, value) in [
        ("time", { (entry: PublishedComparison.Entry) in entry.relativeTime }),
        ("energy", { $0.relativeEnergy.joules }),
      ] {
        lines.append("\(title): \(quantity) relative to FP16")
        lines.append("")
        lines.append("| network | " + designs.map(\.rawValue).joined(separator: " | ") + " |")
        lines.append("|---" + String(repeating: "|---:", count: designs.count) + "|")
        for network in PublishedComparison.Network.allCases {
          let cells = designs.map { design in
            table[design, network].map { String(format: "%.2f", value($0)) } ?? "–"
          }
          lines.append("| \(network.rawValue) | " + cells.joined(separator: " | ") + " |")
        }
        lines.append("")
      }
    }
    lines.append("MixPE-W4A8 over the others, mean of the networks (time, energy):")
    lines.append("")
    lines.append("| over | as published | corrected |")
    lines.append("|---|---:|---:|")
    for other in designs where other != .mixPEW4A8 {
      let cells = tables.map { table in
        let gain = table.gain(of: .mixPEW4A8, over: other)
        return String(format: "%.2f×, %.2f×", gain.time, gain.energy)
      }
      lines.append("| \(other.rawValue) | " + cells.joined(separator: " | ") + " |")
    }
    return lines.joined(separator: "\n")
  }
}
