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
    if format.coding == .float16 {
      return QuantizedWeights(
        format: format, shape: shape,
        payload: .float16(
          (0..<shape.weightCount).map { _ in
            Float16(Float.random(in: -0.3...0.3, using: &generator)).bitPattern
          }))
    }
    let groups = PackedLayout(format, shape).groupCount * shape.outputFeatures
    let levels = 1 << format.bitWidth
    let scale = (12 / Float(shape.inputFeatures)).squareRoot() / Float(levels)
    return QuantizedWeights(
      format: format, shape: shape,
      payload: .integer(
        codes: (0..<shape.weightCount).map { _ in
          UInt8(Int.random(in: 0..<levels, using: &generator))
        },
        scales: (0..<groups).map { _ in
          Float16(scale * Float.random(in: 0.5...1.5, using: &generator)).bitPattern
        },
        zeroPoints: format.coding == .affine
          ? (0..<groups).map { _ in
            UInt8(Int.random(in: levels / 2 - 1...levels / 2, using: &generator))
          } : []))
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
  ].compactMap { WeightFormat(identifier: $0) }

  /// A plan's assignments: every third operator in two segments, the others in one.
  static func assignments(for model: Model) -> [Plan.Assignment] {
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
      guard matrices.count > 1 else { return PackedOperator(matrices[0]) }
      return try PackedOperator(
        shape: assignment.shape,
        segments: zip(matrices, assignment.segments).map { ($0, $1.rows) })
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
