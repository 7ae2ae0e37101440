import BitplanCore
import BitplanEngine
import BitplanKernels
import BitplanTestSupport
import Foundation
import Testing

/// What is cut into pieces to save memory gives what the whole gives.
struct LogitBlockTests {
  @Test("gradients with logits in blocks are those of all logits at once")
  func backward() throws {
    let model = try GoldenTests.model(Fixtures.docsLlama)
    let context = try Tiny.context()
    let tokens = (0..<300).map { ($0 * 37 + 11) % model.vocabularySize }
    /// Sums of squares of every operator's output gradients.
    func squares(wholeLogits: Bool) throws -> ([Double], Double) {
      let pass = BackwardPass(model, context: context, capacity: tokens.count)
      var sums = [Double](repeating: 0, count: model.operators.count)
      let loss = try pass.run(
        tokens, labels: .sampled(seed: 4), vectors: wholeLogits ? { _, _ in } : nil
      ) { gradient in
        gradient.outputGradient.withUnsafeBufferPointer { values in
          for value in values.prefix(gradient.tokenCount * gradient.outputGradient.columns) {
            sums[gradient.operatorIndex] += Double(value) * Double(value)
          }
        }
      }
      return (sums, loss.total)
    }
    let (blocks, blockLoss) = try squares(wholeLogits: false)
    let (whole, loss) = try squares(wholeLogits: true)
    #expect(abs(blockLoss / loss - 1) < 1e-6)
    for (a, b) in zip(blocks, whole) { #expect(abs(a / b - 1) < 1e-4 && b > 0) }
  }

  @Test("small chunks and weights made when needed give the logits of the whole")
  func chunksAndDeferredWeights() throws {
    let model = try GoldenTests.model(Fixtures.folder.appending(path: "golden/tiny-llama"))
    let context = try Tiny.context()
    let tokens = (0..<40).map { ($0 * 7 + 3) % model.vocabularySize }
    let expected = try Session(model, context: context, capacity: 40).forward(
      tokens, lastOnly: false
    ).values
    var deferred = model
    for index in model.operators.indices {
      deferred = deferred.replacing(
        index,
        with: .deferred(model.operators[index].shape) { model.floatWeights(of: index) })
    }
    let logits = try Session(deferred, context: context, capacity: 40, chunk: 8).forward(
      tokens, lastOnly: false
    ).values
    #expect(logits.count == expected.count)
    for (a, b) in zip(logits, expected) { #expect(abs(a - b) < 1e-4) }
  }
}
