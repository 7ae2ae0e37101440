import BitplanCore
import BitplanEngine
import BitplanKernels
import BitplanQuantizers
import BitplanSensitivity
import StudyRecords

/// The input of `down` turned at run time, by seeded rotations and by Kronecker products found from the
/// calibration text: what a uniform plan loses with each, and what turning takes of a pass.
struct OnlineStudy {
  let bench: Bench

  func run(_ formats: [WeightFormat]) throws -> [Record] {
    try formats.flatMap(losses) + times()
  }

  // MARK: Losses

  private func losses(_ format: WeightFormat) throws -> [Record] {
    print("\n\(format), every operator: KL on held-out text")
    Table.line(["down's input", "KL", "relative"], widths: [40, 10, 10])
    var records: [Record] = []
    var plain = 0.0
    func report(_ name: String, _ list: [EquivalenceTransform]) throws {
      let model = try transformed(list)
      let loss = try bench.uniformLoss(model, format, bench.statistics(of: model))
      if plain == 0 { plain = loss }
      Table.line([name, Table.number(loss), Table.number(loss / plain)], widths: [40, 10, 10])
      records.append(
        Record(
          metric: "klDivergenceNatsPerToken", value: loss, unit: "nats/token",
          conditions: [
            "format": format.identifier, "downInput": name,
            "windows": "\(bench.held.windows.count)",
          ],
          reference: ["untransformed": plain]))
    }
    try report("as it is", [])
    for seed: UInt64 in 1...3 { try report("rotated, seed \(seed)", rotations(seed)) }
    for seed: UInt64 in 1...3 { try report("Kronecker product, seed \(seed)", products(seed)) }
    return records
  }

  private func rotations(_ seed: UInt64) -> [EquivalenceTransform] {
    (0..<bench.model.layerCount).map { .rotation(.downInput, layer: $0, seed: seed) }
  }

  private func products(_ seed: UInt64) -> [EquivalenceTransform] {
    (0..<bench.model.layerCount).map { .kronecker(layer: $0, seed: seed) }
  }

  private func transformed(_ list: [EquivalenceTransform]) throws -> Model {
    try ModelTransforms(context: bench.context) { [bench] _ in bench.statistics }
      .apply(list, to: bench.model)
  }

  // MARK: Times

  private static let samples = 41
  private static let decodeSteps = 16
  private static let clock = ContinuousClock()

  /// Seconds that turning takes by itself, for all layers, beside a pass of a packed model without it.
  private func times() throws -> [Record] {
    guard let format = WeightFormat(identifier: "int4_g128") else { return [] }
    let quantizer = RoundToNearest(pool: bench.context.pool)
    let packed = bench.model.replacingAll(
      with: bench.model.operators.indices.map {
        PackedOperator(
          PackedMatrix(packing: quantizer.quantize(bench.model.floatWeights(of: $0), as: format)))
      })
    let down = try bench.model.downOperator(layer: 0)
    let size = bench.model.operators[down].shape.inputFeatures
    let sizes = try Rotation.kroneckerSizes(for: bench.model.operators[down])
    let forms = [
      ("rotated", Rotation(size: size, seed: 1)),
      (
        "Kronecker product",
        Rotation.spreading(
          bench.statistics[down].samples, slow: sizes.slow, seed: 1, bench.context.pool)
      ),
    ]
    print("\nTurning in all layers, beside a pass of \(format)")
    Table.line(["", "tokens", "turning, µs", "pass, µs", "share"], widths: [24, 8, 14, 12, 10])
    var records: [Record] = []
    for tokens in [1, 512] {
      let pass = try passSeconds(packed, tokens: tokens)
      for (name, rotation) in forms {
        let turning = seconds(rotation, tokens: tokens) * Double(bench.model.layerCount)
        Table.line(
          [
            name, "\(tokens)", Table.number(turning * 1e6), Table.number(pass * 1e6),
            Table.number(turning / pass),
          ], widths: [24, 8, 14, 12, 10])
        records.append(
          Record(
            metric: "turningSeconds", value: turning, unit: "s",
            conditions: [
              "downInput": name, "tokens": "\(tokens)", "format": format.identifier,
              "threads": "\(bench.context.pool.threadCount)",
              "instructionSet": bench.context.kernels.instructionSet.rawValue,
            ],
            reference: ["passSeconds": pass, "share": turning / pass]))
      }
    }
    return records
  }

  private func seconds(_ rotation: Rotation, tokens: Int) -> Double {
    var generator = SeededGenerator(state: 5)
    let x = FloatMatrix(
      rows: tokens, columns: rotation.size,
      values: (0..<tokens * rotation.size).map { _ in Float.random(in: -1...1, using: &generator) })
    let turns = max(1, (1 << 17) / (tokens * rotation.size))
    return undisturbed {
      for _ in 0..<turns { rotation.turn(x, tokenCount: tokens, bench.context.pool) }
    } / Double(turns)
  }

  /// A prefill of so many tokens, or a decoded token after eight others.
  private func passSeconds(_ model: Model, tokens: Int) throws -> Double {
    let session = Session(model, context: bench.context, capacity: max(tokens, 64))
    let window = bench.held.windows[0]
    if tokens > 1 {
      let prompt = Array(window.prefix(tokens))
      return try undisturbed {
        session.reset()
        _ = try session.forward(prompt, lastOnly: true)
      }
    }
    session.reset()
    _ = try session.forward(Array(window.prefix(8)), lastOnly: true)
    return try undisturbed {
      session.rewind(to: 8)
      for step in 0..<Self.decodeSteps {
        _ = try session.forward([window[8 + step]], lastOnly: true)
      }
    } / Double(Self.decodeSteps)
  }

  /// The lower quartile over samples, as whole passes are timed elsewhere.
  private func undisturbed(_ body: () throws -> Void) rethrows -> Double {
    var values: [Double] = []
    for _ in 0..<Self.samples {
      let begin = Self.clock.now
      try body()
      let span = (Self.clock.now - begin).components
      values.append(Double(span.seconds) + Double(span.attoseconds) * 1e-18)
    }
    return values.sorted()[values.count / 4]
  }
}
