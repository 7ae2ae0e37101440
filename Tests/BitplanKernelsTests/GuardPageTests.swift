import BitplanCore
import BitplanKernels
import Testing

/// Kernels with every buffer against a page that may not be touched: a read or write outside the
/// bounds ends the process.
struct GuardPageTests {
  @Test(
    "no access out of bounds", arguments: InstructionSet.supported,
    [MemoryPlacement.afterGuard, .beforeGuard])
  func staysInside(_ set: InstructionSet, _ placement: MemoryPlacement) throws {
    var generator = SeededGenerator(state: 14)
    let context = try makeContext(set)
    for format in WeightFormat.all {
      for shape in [Shape(1, 1), Shape(7, 33), Shape(17, 96), Shape(50, 300)] {
        let packed = PackedMatrix(packing: generator.weights(format, shape.matrixShape))
        let region = AlignedBytes(count: packed.bytes.count, placement: placement)
        region.withUnsafeMutableBytes { target in
          packed.bytes.withUnsafeBytes { target.copyMemory(from: $0) }
        }
        let guarded = PackedOperator(
          try PackedMatrix(
            packed.layout, bytes: ByteSlice(region: region, range: 0..<region.count)))
        for tokens in [1, 2, 5, 8, 9, 13, 33] {
          let values = generator.floats(tokens * shape.columns)
          let x = Activations(
            capacity: tokens, inputFeatures: shape.columns, placement: placement)
          x.values.withUnsafeMutableBufferPointer { _ = $0.update(fromContentsOf: values) }
          x.didChange(tokenCount: tokens)
          let y = FloatMatrix(rows: tokens, columns: shape.rows, placement: placement)
          context.multiply(guarded, x, into: y)
          let expected = product(PackedOperator(packed), values, tokens: tokens, context)
          #expect(firstDifference(expected, y.values) == nil)
        }
        let rows = FloatMatrix(rows: shape.rows, columns: shape.columns, placement: placement)
        guarded.lookUp(Array(0..<shape.rows), into: rows)
      }
    }
  }

  @Test(
    "rows that go to places of their own stay inside the output",
    arguments: InstructionSet.supported, [MemoryPlacement.afterGuard, .beforeGuard])
  func scattersInside(_ set: InstructionSet, _ placement: MemoryPlacement) throws {
    let (packed, _) = try SegmentTests.makeScattered(columns: 100)
    var generator = SeededGenerator(state: 15)
    let context = try makeContext(set)
    for tokens in [1, 3, 8, 9, 25] {
      let values = generator.floats(tokens * 100)
      let x = Activations(capacity: tokens, inputFeatures: 100)
      x.values.withUnsafeMutableBufferPointer { _ = $0.update(fromContentsOf: values) }
      x.didChange(tokenCount: tokens)
      let y = FloatMatrix(
        rows: tokens, columns: packed.shape.outputFeatures, placement: placement)
      context.multiply(packed, x, into: y)
      let expected = product(packed, values, tokens: tokens, try makeContext(.scalar))
      #expect(firstDifference(expected, y.values) == nil)
    }
  }
}
