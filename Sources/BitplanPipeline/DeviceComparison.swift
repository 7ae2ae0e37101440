public import BitplanCore
internal import Foundation

/// Plans of one model for several devices, and why they differ.
public struct DeviceComparison: Codable, Hashable, Sendable {
  /// One device's plan in figures.
  public struct Device: Codable, Hashable, Sendable {
    /// Name of its profile.
    public let name: String
    /// Whether a simulator made the profile.
    public let simulated: Bool
    /// What the plan is predicted to cost there.
    public let predicted: Plan.Costs
    /// The limited time of the fastest plan of this size there, in seconds.
    public let fastestSeconds: Double
    /// The same of the plan that only minds its size.
    public let freeSeconds: Double
    /// Share of the weights in every format, by identifier.
    public let weightShares: [String: Double]
  }

  /// One operator in every plan.
  public struct Operator: Codable, Hashable, Sendable {
    /// The operator's name.
    public let name: String
    /// Its formats in every device's plan, widest share first, such as `int4_g64 75 % + int3_g64`.
    public let formats: [String]
  }

  /// What a format costs on every device.
  public struct FormatCost: Codable, Hashable, Sendable {
    /// The format.
    public let format: String
    /// The whole model's limited time in this format ÷ that in `int4_g128`, in the devices' order.
    public let relativeTime: [Double?]
  }

  /// Plans found, before they are put side by side.
  struct Found {
    let profile: DeviceProfile
    let plan: Plan
    let fastestSeconds: Double
    let freeSeconds: Double
  }

  /// `decode` or `prefill`: which time was limited.
  public let phase: String
  /// How much longer than the fastest plan of the size was allowed, as a share.
  public let slack: Double
  /// The devices, as they were named.
  public let devices: [Device]
  /// Operators whose formats are not the same everywhere.
  public let differences: [Operator]
  /// Operators whose formats are the same everywhere.
  public let sameCount: Int
  /// Why: what formats cost.
  public let formatCosts: [FormatCost]

  init(
    _ found: [Found], operators: [OperatorDescription], phase: DevicesRequest.Phase, slack: Double
  ) {
    self.phase = phase.rawValue
    self.slack = slack
    devices = found.map { item in
      Device(
        name: item.profile.name, simulated: item.profile.simulated,
        predicted: item.plan.predicted, fastestSeconds: item.fastestSeconds,
        freeSeconds: item.freeSeconds, weightShares: Self.shares(item.plan))
    }
    var differences: [Operator] = []
    var same = 0
    for index in found.first?.plan.operators.indices ?? 0..<0 {
      let assignments = found.map { $0.plan.operators[index] }
      if assignments.allSatisfy({ $0.isStored(as: assignments[0]) }) {
        same += 1
      } else {
        differences.append(
          Operator(name: assignments[0].name, formats: assignments.map(Self.formats)))
      }
    }
    self.differences = differences
    sameCount = same
    let batch = phase == .decode ? 1 : PlanProblem.prefillTokens
    let reference = WeightFormat(identifier: "int4_g128") ?? .f16
    let times = found.map { item in
      Self.times(item.profile, operators, batch: batch)
    }
    formatCosts = WeightFormat.all.compactMap { format in
      let relative = times.map { times -> Double? in
        guard let time = times[format], let base = times[reference] else { return nil }
        return time / base
      }
      return relative.contains { $0 != nil }
        ? FormatCost(format: format.identifier, relativeTime: relative) : nil
    }
  }

  static func check(_ cancellation: Cancellation) throws(PipelineError) {
    do { try cancellation.check() } catch { throw PipelineError(wrapping: error) }
  }

  /// Seconds of all operators in one format.
  private static func times(
    _ profile: DeviceProfile, _ operators: [OperatorDescription], batch: Int
  ) -> [WeightFormat: Double] {
    var times: [WeightFormat: Double] = [:]
    for format in WeightFormat.all {
      var sum = 0.0
      for description in operators {
        guard let seconds = profile.seconds(format, description, batch: batch) else {
          sum = .nan
          break
        }
        sum += seconds
      }
      if sum.isFinite, sum > 0 { times[format] = sum }
    }
    return times
  }

  private static func shares(_ plan: Plan) -> [String: Double] {
    var weights: [String: Double] = [:]
    for assignment in plan.operators {
      for segment in assignment.segments {
        weights[segment.format.identifier, default: 0] +=
          Double(segment.rowCount) * Double(assignment.inputFeatures)
      }
    }
    let sum = weights.values.reduce(0, +)
    return weights.mapValues { $0 / sum }
  }

  private static func formats(_ assignment: Plan.Assignment) -> String {
    let segments = assignment.segments.sorted { $0.rowCount > $1.rowCount }
    let branch = assignment.branch.map { [$0.identifier] } ?? []
    let rows = segments.map { segment in
      let share = Double(segment.rowCount) / Double(assignment.outputFeatures) * 100
      return segments.count == 1
        ? segment.format.identifier : "\(segment.format.identifier) \(Int(share.rounded())) %"
    }
    return (rows + branch).joined(separator: " + ")
  }
}

extension DeviceComparison {
  /// The tables for people.
  public var text: String {
    var lines = [
      "The same budget of size, and \(phase) at most \(Figures.significant(slack * 100)) % longer than "
        + "the fastest plan within it:", "",
    ]
    lines += summary.lines(width: .max)
    lines += ["", "Share of the weights, percent:", ""]
    lines += shareTable.lines(width: .max)
    lines += ["", "Why: \(phase) of the whole model in one format, relative to int4_g128:", ""]
    lines += costTable.lines(width: .max)
    lines += [
      "", "Where: \(differences.count) of \(differences.count + sameCount) operators differ.", "",
    ]
    lines += differenceTable.lines(width: .max)
    return lines.joined(separator: "\n")
  }

  private func table(_ heading: [String]) -> TextTable {
    var table = TextTable([.left] + heading.dropFirst().map { _ in .right })
    table.add(heading)
    return table
  }

  private var summary: TextTable {
    var table = table([
      "device", "bits/weight", "loss", "\(phase) ms", "fastest", "no limit", "mJ/token",
    ])
    for device in devices {
      let costs = device.predicted
      let time = phase == "decode" ? costs.decodeSecondsPerToken : costs.prefillSeconds
      table.add([
        device.name + (device.simulated ? "" : " (measured)"),
        String(format: "%.3f", costs.bitsPerWeight),
        Figures.significant(costs.klDivergenceNatsPerToken ?? costs.cosineDistance ?? .nan),
        Figures.significant((time ?? .nan) * 1e3), Figures.significant(device.fastestSeconds * 1e3),
        Figures.significant(device.freeSeconds * 1e3),
        costs.decodeJoulesPerToken.map { Figures.significant($0 * 1e3) } ?? "–",
      ])
    }
    return table
  }

  private var shareTable: TextTable {
    var table = table(["format"] + devices.map(\.name))
    for format in WeightFormat.all.map(\.identifier)
    where devices.contains(where: { $0.weightShares[format] != nil }) {
      table.add(
        [format]
          + devices.map {
            $0.weightShares[format].map { String(format: "%.1f", $0 * 100) } ?? "·"
          })
    }
    return table
  }

  private var costTable: TextTable {
    var table = table(["format"] + devices.map(\.name))
    for cost in formatCosts {
      table.add(
        [cost.format] + cost.relativeTime.map { $0.map { String(format: "%.2f", $0) } ?? "–" })
    }
    return table
  }

  private var differenceTable: TextTable {
    var table = TextTable([.left] + devices.map { _ in .left })
    table.add(["operator"] + devices.map(\.name))
    for row in differences { table.add([row.name] + row.formats) }
    return table
  }
}
