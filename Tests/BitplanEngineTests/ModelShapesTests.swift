import BitplanCheckpoint
import BitplanCore
import BitplanEngine
import BitplanTestSupport
import Foundation
import Testing

struct ModelShapesTests {
  @Test("a configuration alone gives the operators that the loaded model has")
  func withoutWeights() throws {
    let model = try GoldenTests.model(Fixtures.docsLlama)
    let path = Fixtures.docsLlama.appending(path: "config.json").path
    #expect(try ModelShapes(configuration: path).operators == model.operators)
  }

  @Test("the 8B shapes have the published number of parameters, less those of the norms")
  func publishedSize() throws {
    // Meta's Llama 3 8B has 8,030,261,248 parameters, 65 · 4,096 of them in norms.
    let path = Fixtures.folder.appending(path: "../../Benchmarks/Shapes/llama-3-8b.json").path
    let operators = try ModelShapes(configuration: path).operators
    #expect(operators.reduce(0) { $0 + $1.shape.weightCount } == 8_030_261_248 - 65 * 4096)
  }

  @Test("a file that is missing is an error")
  func missing() {
    #expect(throws: CheckpointError.self) {
      try ModelShapes(configuration: Fixtures.folder.appending(path: "none.json").path)
    }
  }
}
