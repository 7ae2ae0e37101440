package import BitplanCore
package import BitplanDevices
internal import BitplanKernels

/// The timings of a profile that passes of a model add up from, its operators in given segments.
package struct PassCases {
  /// Tokens of the passes: one decoded token, and a prefill.
  package static let batches = [1, PlanProblem.prefillTokens]

  /// By batch: every case, and how many times a pass takes it. A segment takes its share of the
  /// operator's tiles, since kernels work tile by tile.
  private let counts: [Int: [CPUProfiler.Case: Double]]
  /// All cases.
  package var all: Set<CPUProfiler.Case> {
    counts.values.reduce(into: []) { $0.formUnion($1.keys) }
  }

  package init(_ operators: [OperatorDescription], _ segments: [[Plan.Segment]]) {
    var counts: [Int: [CPUProfiler.Case: Double]] = [:]
    for batch in Self.batches {
      for (description, segments) in zip(operators, segments) where description.isMultiplied {
        for segment in segments {
          let item = CPUProfiler.Case(
            format: segment.format, shape: description.shape,
            batch: description.multipliedTokens(ofBatch: batch))
          counts[batch, default: [:]][item, default: 0] += Self.share(
            of: segment.rowCount, description.shape)
        }
      }
    }
    self.counts = counts
  }

  /// The cases that passes over so many tokens consist of and those before it in ``batches`` do not.
  package func new(atBatch batch: Int) -> Set<CPUProfiler.Case> {
    Self.batches.prefix { $0 != batch }.reduce(into: Set(counts[batch, default: [:]].keys)) {
      $0.subtract(counts[$1, default: [:]].keys)
    }
  }

  /// The share of an operator's tiles that so many of its rows take.
  static func share(of rowCount: Int, _ shape: MatrixShape) -> Double {
    Double(PackedLayout.tileCount(rows: rowCount))
      / Double(PackedLayout.tileCount(rows: shape.outputFeatures))
  }

  /// Seconds that a pass spends in operators, by batch, where `seconds` knows every case.
  package func sums(_ seconds: (CPUProfiler.Case) -> Double?) -> [Int: Double] {
    counts.compactMapValues { counts in
      counts.reduce(0 as Double?) { sum, item in
        guard let sum, let seconds = seconds(item.key) else { return nil }
        return sum + seconds * item.value
      }
    }
  }

  /// ``sums(_:)`` by what a profile says.
  func sums(_ profile: DeviceProfile) -> [Int: Double] {
    sums { profile.measurement($0.format, $0.shape, batch: $0.batch)?.seconds }
  }
}
