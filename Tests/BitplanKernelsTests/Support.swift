import BitplanCore
import BitplanKernels
import Testing

/// An operator's shape as a test argument.
struct Shape: Sendable, CustomTestStringConvertible {
  var rows: Int
  var columns: Int
  var testDescription: String { "[\(rows), \(columns)]" }
  var matrixShape: MatrixShape { MatrixShape(outputFeatures: rows, inputFeatures: columns) }

  init(_ rows: Int, _ columns: Int) { (self.rows, self.columns) = (rows, columns) }
}

extension SeededGenerator {
  /// Uniform in −1…1.
  mutating func float() -> Float { Float.random(in: -1...1, using: &self) }

  /// Floats of mixed magnitudes, some of them zero.
  mutating func floats(_ count: Int) -> [Float] {
    (0..<count).map { _ in
      switch next() % 16 {
      case 0: 0
      case 1: 40 * float()
      default: float()
      }
    }
  }
}

/// Kernels of `instructionSet` on `threads` threads.
func makeContext(_ instructionSet: InstructionSet, threads: Int = 1) throws -> KernelContext {
  KernelContext(
    kernels: try #require(KernelSet(instructionSet)), pool: ThreadPool(threadCount: threads))
}

/// `W · x`; the output starts as NaN, so that a result that is never written shows.
func product(
  _ weights: PackedOperator, _ values: [Float], tokens: Int, _ context: KernelContext
) -> [Float] {
  let x = Activations(capacity: tokens, inputFeatures: weights.shape.inputFeatures)
  x.values.withUnsafeMutableBufferPointer { _ = $0.update(fromContentsOf: values) }
  x.didChange(tokenCount: tokens)
  let y = FloatMatrix(
    rows: tokens, columns: weights.shape.outputFeatures,
    values: [Float](repeating: .nan, count: tokens * weights.shape.outputFeatures))
  context.multiply(weights, x, into: y)
  return y.values
}

/// Where two results first differ in any bit, in words; `nil` when they are equal.
func firstDifference(_ expected: [Float], _ actual: [Float]) -> String? {
  guard expected.count == actual.count else { return "\(expected.count), \(actual.count) values" }
  for index in expected.indices where expected[index].bitPattern != actual[index].bitPattern {
    return "value \(index): expected \(expected[index]), got \(actual[index])"
  }
  return nil
}
