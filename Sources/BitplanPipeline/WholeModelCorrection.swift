internal import BitplanCore
internal import BitplanEngine
internal import BitplanKernels
internal import BitplanQuantizers

/// Runs a whole model in a few ways and finds what the sums of operator times do not explain: norms,
/// attention and hand-over once a pass, and the cost of further segments.
struct WholeModelCorrection {
  let workbench: Workbench
  let model: Model

  /// One whole pass beside the sum of its operators' times.
  private struct Sample {
    let sum: Double
    let whole: Double
  }

  /// `profile` with corrections for the model.
  func added(to profile: DeviceProfile) throws -> DeviceProfile {
    let available = Set(profile.measurements.map(\.format))
    let uniform = chosen(["int3_g64", "int4_g128", "int6_g64", "int8_g128s"], of: available)
    let mixed = chosen(["int3_g128", "int4_g64", "int5_g128"], of: available)
    workbench.progress.begin("whole model", total: uniform.count + 2)
    var samples: [Int: [Sample]] = [:]
    for (index, format) in uniform.enumerated() {
      workbench.progress.advance(index, of: uniform.count + 2)
      for (batch, sample) in try run(profile, formats: [format]) {
        samples[batch, default: []].append(sample)
      }
    }
    let segmented = mixed.count > 1 ? try run(profile, formats: mixed) : [:]
    workbench.progress.advance(uniform.count + 1, of: uniform.count + 2)
    let middle = uniform.count > 1 ? uniform[1] : uniform[0]
    let wide = try run(profile, formats: [middle], activations: .int16)
    let extra = model.operators.reduce(0) { $0 + segments($1, mixed).count - 1 }
    var corrections = profile.corrections.filter {
      $0.architectureSHA256 != model.architectureSHA256
    }
    let turning = OnlineTransformTimer(
      context: workbench.context, cancellation: workbench.cancellation)
    for (batch, points) in samples.sorted(by: { $0.key < $1.key }) {
      let (factor, fixed) = CorrectionFit.fit(points.map { ($0.sum, $0.whole) })
      let perSegment = segmented[batch].map {
        max(0, (($0.whole - fixed) / factor - $0.sum) / Double(max(1, extra)))
      }
      corrections.append(
        DeviceProfile.Correction(
          architectureSHA256: model.architectureSHA256, batch: batch, factor: factor,
          fixedSeconds: fixed, secondsPerExtraSegment: perSegment ?? 0,
          // Never faster, whatever the noise says.
          sixteenBitActivationFactor: wide[batch].map {
            max(1, ($0.whole - fixed) / factor / $0.sum)
          },
          inputRotationSeconds: try turning.seconds(model, .seeded, batch: batch),
          inputKroneckerSeconds: try turning.seconds(model, .kronecker, batch: batch)))
    }
    workbench.progress.end("corrections for \(samples.count) batch sizes")
    var result = profile
    result.corrections = corrections
    return result
  }

  private func chosen(_ names: [String], of available: Set<WeightFormat>) -> [WeightFormat] {
    let formats = names.compactMap { WeightFormat(identifier: $0) }.filter(available.contains)
    return formats.count > 1 ? formats : Array(available.sorted().prefix(names.count))
  }

  /// Tiles of an operator dealt out over the formats, as a plan by output features does; one format
  /// where the operator keeps one.
  private func segments(
    _ description: OperatorDescription, _ formats: [WeightFormat]
  ) -> [Plan.Segment] {
    let rows = description.shape.outputFeatures
    let tiles = PackedLayout(formats.first ?? .f16, description.shape).tileCount
    guard description.role == .linear, tiles >= formats.count, formats.count > 1 else {
      return [Plan.Segment(format: formats.first ?? .f16, rows: [0..<rows])]
    }
    let height = PackedLayout.tileHeight
    return formats.enumerated().map { index, format in
      let ranges = stride(from: index, to: tiles, by: formats.count).map {
        $0 * height..<min(($0 + 1) * height, rows)
      }
      return Plan.Segment(format: format, rows: ranges)
    }
  }

  /// Times the model with every operator in these formats.
  private func run(
    _ profile: DeviceProfile, formats: [WeightFormat], activations: ActivationFormat = .int8
  ) throws -> [Int: Sample] {
    let quantizer = RoundToNearest(pool: workbench.context.pool)
    var packed: [PackedOperator] = []
    for (index, description) in model.operators.enumerated() {
      try workbench.cancellation.check()
      let weights = model.floatWeights(of: index)
      let parts = segments(description, formats).map { segment in
        (
          matrix: PackedMatrix(
            packing: quantizer.quantize(weights, rows: segment.rows, as: segment.format)),
          rows: segment.rows
        )
      }
      var whole =
        parts.count == 1
        ? PackedOperator(parts[0].matrix)
        : try PackedOperator(shape: description.shape, segments: parts)
      whole.activations = activations
      packed.append(whole)
    }
    let timer = WholeModelTimer(context: workbench.context, cancellation: workbench.cancellation)
    var result: [Int: Sample] = [:]
    for (batch, whole) in try timer.measure(model.replacingAll(with: packed)) {
      result[batch] = Sample(sum: try operatorSum(profile, formats, batch), whole: whole)
    }
    return result
  }

  private func operatorSum(
    _ profile: DeviceProfile, _ formats: [WeightFormat], _ batch: Int
  ) throws -> Double {
    var sum = 0.0
    for description in model.operators {
      for segment in segments(description, formats) {
        guard let seconds = profile.seconds(segment.format, description, batch: batch) else {
          throw PipelineError(
            .internalFailure, "no time for \(segment.format) at \(description.shape)")
        }
        sum += seconds * Double(segment.rowCount) / Double(description.shape.outputFeatures)
      }
    }
    return sum
  }
}

/// From sums of operator times to whole passes.
enum CorrectionFit {
  /// `whole ≈ factor · sum + fixed` with a non-negative `fixed`.
  ///
  /// With few noisy points a free slope means little, so the slope stays 1 and what is left is
  /// taken as fixed; only where passes are faster than the sum of their operators does the slope
  /// give way.
  static func fit(_ samples: [(sum: Double, whole: Double)]) -> (factor: Double, fixed: Double) {
    let differences = samples.map { $0.whole - $0.sum }.sorted()
    let fixed = differences[differences.count / 2]
    if fixed >= 0 { return (1, fixed) }
    let ratios = samples.map { $0.whole / $0.sum }.sorted()
    return (ratios[ratios.count / 2], 0)
  }
}
