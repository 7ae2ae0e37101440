import BitplanCore
import BitplanEngine
import BitplanKernels
import Testing

/// Random codes: what a forward pass does with packed weights does not depend on how good they are.
enum RandomPacking {
  /// Codes, scales and zero points that give weights of about the size of a trained layer's.
  static func weights(
    _ format: WeightFormat, _ shape: MatrixShape, _ generator: inout SeededGenerator
  ) -> QuantizedWeights {
    let layout = PackedLayout(format, shape)
    let groups = layout.groupCount * shape.outputFeatures
    let levels = 1 << min(8, format.bitWidth)
    // What gives weights of a unit range this spread: integers, levels up to 127, or ± parts.
    let spread = (12 / Float(shape.inputFeatures)).squareRoot()
    let widths: [WeightFormat.Coding: Int] = [
      .nonlinear: 256, .twoLevel: 128, .binary: format.bitWidth == 1 ? 2 : 256,
    ]
    let scale = spread / Float(widths[format.coding] ?? levels)
    func halves(_ count: Int, _ range: ClosedRange<Float>) -> [UInt16] {
      (0..<count).map { _ in Float16(Float.random(in: range, using: &generator)).bitPattern }
    }
    func bytes(_ count: Int, _ range: ClosedRange<Int>) -> [UInt8] {
      (0..<count).map { _ in UInt8(Int.random(in: range, using: &generator)) }
    }
    let codes = bytes(shape.weightCount, 0...levels - 1)
    let scales = halves(layout.scalesPerRow * shape.outputFeatures, 0.5 * scale...1.5 * scale)
    let payload: QuantizedWeights.Payload
    switch format.coding {
    case .float16: payload = .float16(halves(shape.weightCount, -0.3...0.3))
    case .blockFloat:
      let exponent = Int(scale.exponent) + 127
      payload = .blockFloat(codes: codes, exponents: bytes(groups, exponent - 1...exponent + 1))
    case .twoLevel:
      payload = .twoLevel(
        codes: codes, scales: scales,
        levels: (0..<groups).map { _ in
          TwoLevelCode(
            groupScale: Int.random(in: 4...14, using: &generator),
            zeroPoint: Int.random(in: 7...8, using: &generator))
        })
    case .binary:
      let most = 127 / format.bitWidth
      payload = .binary(
        codes: codes, scales: scales, offsets: halves(groups, -scale...scale),
        planeWeights: bytes(groups * layout.planeWeightsPerGroup, most / 4...most))
    case .affine, .symmetric, .nonlinear, .perRow:
      payload = .integer(
        codes: codes, scales: scales,
        zeroPoints: format.coding == .affine ? bytes(groups, levels / 2 - 1...levels / 2) : [])
    }
    return QuantizedWeights(format: format, shape: shape, payload: payload)
  }

  /// One segment of random codes.
  static func packed(
    _ format: WeightFormat, _ shape: MatrixShape, seed: UInt64
  ) -> PackedOperator {
    var generator = SeededGenerator(state: seed)
    return PackedOperator(PackedMatrix(packing: weights(format, shape, &generator)))
  }

  /// The formats that ``assignments(for:)`` cycles through.
  static let formats = [
    "int4_g32", "int8_g128s", "int3_g64", "f16", "int5_g32", "int2_g128", "int6_g64", "int8_g32",
    "nl4_g64", "int4_g128q", "bcq3_g128", "bfp6_b32", "int8_row",
  ].compactMap { WeightFormat(identifier: $0) }

  /// A plan's assignments: every third operator in two segments, the others in one; some with a side
  /// branch.
  static func assignments(for model: Model) -> [Plan.Assignment] {
    var result = plainAssignments(for: model)
    for (index, description) in model.operators.enumerated() where description.role == .linear {
      let branch: SideBranch? =
        switch index % 4 {
        case 1: .lowRank(3)
        case 2: .outliers(basisPoints: 150)
        default: nil
        }
      result[index].branch = branch.flatMap { $0.fits(description.shape) ? $0 : nil }
    }
    return result
  }

  private static func plainAssignments(for model: Model) -> [Plan.Assignment] {
    model.operators.enumerated().map { index, description in
      let rows = description.shape.outputFeatures
      let format = formats[index % formats.count]
      guard index % 3 == 2 else {
        return Plan.Assignment(
          name: description.name, shape: description.shape,
          segments: [.init(format: format, rows: [0..<rows])])
      }
      let other = formats[(index + 3) % formats.count]
      return Plan.Assignment(
        name: description.name, shape: description.shape,
        segments: [
          .init(format: format, rows: [0..<3, 8..<rows - 2]),
          .init(format: other, rows: [3..<8, rows - 2..<rows]),
        ])
    }
  }

  /// Random codes as the assignments say.
  static func operators(
    _ assignments: [Plan.Assignment], seed: UInt64 = 3
  ) throws -> [PackedOperator] {
    var generator = SeededGenerator(state: seed)
    return try assignments.map { assignment in
      let matrices = assignment.segments.map { segment in
        PackedMatrix(
          packing: weights(
            segment.format,
            MatrixShape(
              outputFeatures: segment.rowCount, inputFeatures: assignment.inputFeatures),
            &generator))
      }
      var packed =
        matrices.count > 1
        ? try PackedOperator(
          shape: assignment.shape,
          segments: zip(matrices, assignment.segments).map { ($0, $1.rows) })
        : PackedOperator(matrices[0])
      packed.branch = assignment.branch.map { branch($0, assignment.shape, &generator) }
      return packed
    }
  }

  /// A side branch of random numbers, an equal share of the outliers a row.
  static func branch(
    _ branch: SideBranch, _ shape: MatrixShape, _ generator: inout SeededGenerator
  ) -> PackedBranch {
    func floats(_ count: Int) -> [Float] {
      (0..<count).map { _ in Float.random(in: -0.1...0.1, using: &generator) }
    }
    switch branch {
    case .lowRank(let rank):
      return PackedBranch(
        left: FloatMatrix(
          rows: shape.outputFeatures, columns: rank, values: floats(shape.outputFeatures * rank)),
        right: weights(
          SideBranch.rightFormat,
          MatrixShape(outputFeatures: rank, inputFeatures: shape.inputFeatures), &generator))
    case .outliers:
      let count = branch.outlierCount(shape)
      let starts = (0...shape.outputFeatures).map { UInt32(count * $0 / shape.outputFeatures) }
      let columns = zip(starts, starts.dropFirst()).flatMap { begin, end in
        (0..<end - begin).map { $0 * 2 + 1 }
      }
      return PackedBranch(
        branch, shape, rowStarts: starts, columns: columns,
        values: floats(count).map { UInt16($0.bitPattern >> 16) })
    }
  }

  /// A plan that never saw a solver.
  static func plan(_ model: Model, _ assignments: [Plan.Assignment]) -> Plan {
    Plan(
      model: model.identity, device: nil,
      sensitivity: .init(sha256: "0", metric: .klDivergenceNatsPerToken, quantizer: "none"),
      budgets: [Budget(kind: .bitsPerWeight, limit: 5)],
      certificate: Certificate(
        status: .feasible, objective: 1, bound: 0, solver: "none", seconds: nil),
      predicted: .init(bitsPerWeight: 5, storedBytes: 1), operators: assignments)
  }
}
