internal import BitplanCore
internal import BitplanEngine
internal import BitplanKernels
internal import BitplanQuantizers

/// Runs a whole model in a few ways and finds what the sums of operator times do not explain: norms,
/// attention and hand-over once a pass, and the cost of further segments.
struct WholeModelCorrection {
  let workbench: Workbench
  let model: Model

  /// One whole pass beside the sum of its operators' times, both as if the machine were as fast as when
  /// the profile was made.
  private struct Sample {
    let sum: Double
    let whole: Double
  }

  /// One way to run the model.
  private struct Variant {
    let formats: [WeightFormat]
    var activations = ActivationFormat.int8
  }

  /// Packed bytes of variants that are in memory, and run in turn, at once.
  private static let bytesAtOnce = 1 << 30

  /// `profile` with corrections for the model.
  func added(to profile: DeviceProfile) throws -> DeviceProfile {
    let available = Set(profile.measurements.map(\.format))
    let uniform = chosen(["int3_g64", "int4_g128", "int6_g64", "int8_g128s"], of: available)
    let mixed = chosen(["int3_g128", "int4_g64", "int5_g128"], of: available)
    let middle = uniform.count > 1 ? uniform[1] : uniform[0]
    let variants =
      uniform.map { Variant(formats: [$0]) } + [
        Variant(formats: [middle], activations: .int16), Variant(formats: mixed),
      ]
    let samples = try run(profile, variants)
    let (wide, segmented) = (samples[uniform.count], samples[uniform.count + 1])
    let extra = extraSegments(mixed)
    var corrections = profile.corrections.filter {
      $0.architectureSHA256 != model.architectureSHA256
    }
    let turning = OnlineTransformTimer(
      context: workbench.context, cancellation: workbench.cancellation)
    var ofOneToken: Double?
    for batch in samples[0].keys.sorted() {
      let points = samples.prefix(uniform.count).compactMap { $0[batch] }
      let (factor, fixed) = CorrectionFit.fit(points.map { ($0.sum, $0.whole) })
      // In a prefill the head's segments take as long as in decode, since they meet one token.
      let ofHead = Double(extra.head) * (ofOneToken ?? 0)
      let count = Double(ofOneToken == nil ? extra.layers + extra.head : extra.layers)
      let perSegment = segmented[batch].map {
        count > 0 ? max(0, (($0.whole - fixed) / factor - $0.sum - ofHead) / count) : 0
      }
      ofOneToken = ofOneToken ?? perSegment
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
    var result = profile
    result.corrections = corrections
    return result
  }

  /// Segments past the first of operators inside the layers and of the head.
  private func extraSegments(_ formats: [WeightFormat]) -> (layers: Int, head: Int) {
    model.operators.reduce(into: (0, 0)) { count, description in
      let extra = segments(description, formats).count - 1
      switch description.role {
      case .linear: count.0 += extra
      case .head, .tiedEmbedding: count.1 += extra
      case .embedding: break
      }
    }
  }

  private func chosen(_ names: [String], of available: Set<WeightFormat>) -> [WeightFormat] {
    let formats = names.compactMap { WeightFormat(identifier: $0) }.filter(available.contains)
    return formats.count > 1 ? formats : Array(available.sorted().prefix(names.count))
  }

  /// Rows of an operator dealt out over the formats as a plan by output features deals them: whole tiles
  /// of each, neighbours mostly apart. One format where there are too few rows.
  private func segments(
    _ description: OperatorDescription, _ formats: [WeightFormat]
  ) -> [Plan.Segment] {
    let rows = description.shape.outputFeatures
    let height = PackedLayout.tileHeight
    let tiles = PackedLayout.tileCount(rows: rows)
    guard tiles >= formats.count, formats.count > 1 else {
      return [Plan.Segment(format: formats.first ?? .f16, rows: [0..<rows])]
    }
    let order = formats.indices.flatMap { Array(stride(from: $0, to: rows, by: formats.count)) }
    return formats.enumerated().map { index, format in
      let begin = tiles * index / formats.count * height
      let end = min(tiles * (index + 1) / formats.count * height, rows)
      return Plan.Segment(format: format, rows: order[begin..<end].sorted().map { $0..<$0 + 1 })
    }
  }

  /// Times the model in every variant, by batch.
  private func run(_ profile: DeviceProfile, _ variants: [Variant]) throws -> [[Int: Sample]] {
    let timer = WholeModelTimer(context: workbench.context, cancellation: workbench.cancellation)
    workbench.progress.begin("whole model", total: variants.count)
    var samples: [[Int: Sample]] = []
    var waiting: [WholeModelTimer.Subject] = []
    func runWaiting() throws {
      let (done, count) = (samples.count, waiting.count)
      let times = try timer.measure(
        waiting, workingSetBytes: Workbench.workingSetBytes(model.operators)
      ) { round, rounds in
        workbench.progress.advance(done * rounds + count * round, of: variants.count * rounds)
      }
      for (subject, times) in zip(waiting, times) {
        samples.append(try self.samples(times, subject.cases?.sums(profile) ?? [:]))
      }
      waiting = []
    }
    for variant in variants {
      let subject = try packed(variant)
      let bytes = waiting.reduce(subject.model.packedBytes) { $0 + $1.model.packedBytes }
      if !waiting.isEmpty, bytes > Self.bytesAtOnce { try runWaiting() }
      waiting.append(subject)
    }
    try runWaiting()
    workbench.progress.end("\(variants.count) ways to run it")
    return samples
  }

  private func samples(
    _ times: [Int: WholeModelTimer.Times], _ sums: [Int: Double]
  ) throws -> [Int: Sample] {
    try Dictionary(
      uniqueKeysWithValues: times.map { batch, times in
        guard let sum = sums[batch], let ratio = times.overOperators else {
          throw PipelineError(.internalFailure, "the profile lacks a time of the model's operators")
        }
        return (batch, Sample(sum: sum, whole: sum * ratio))
      })
  }

  /// The model with every operator in the variant's formats.
  private func packed(_ variant: Variant) throws -> WholeModelTimer.Subject {
    let quantizer = RoundToNearest(pool: workbench.context.pool)
    let segments = model.operators.map { self.segments($0, variant.formats) }
    var packed: [PackedOperator] = []
    for (index, description) in model.operators.enumerated() {
      try workbench.cancellation.check()
      let weights = model.floatWeights(of: index)
      let parts = segments[index].map { segment in
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
      whole.activations = variant.activations
      packed.append(whole)
    }
    return WholeModelTimer.Subject(
      model: model.replacingAll(with: packed), cases: PassCases(model.operators, segments))
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
