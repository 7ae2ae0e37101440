import BitplanCore
import BitplanEngine
import BitplanKernels
import BitplanTestSupport
import Foundation
import Testing

struct ZSpeedTests {
  @Test func speed() throws {
    let model = try GoldenTests.model(Fixtures.docsLlama)
    let context = try Tiny.context(threads: Int(ProcessInfo.processInfo.environment["NT"] ?? "1")!)
    func time(_ n: Int, _ body: () throws -> Void) rethrows -> Double {
      var best = Double.infinity
      for _ in 0..<n {
        let t = DispatchTime.now().uptimeNanoseconds
        try body()
        best = min(best, Double(DispatchTime.now().uptimeNanoseconds - t) * 1e-6)
      }
      return best
    }
    let tokens = Tiny.tokens(512, vocabulary: 4096)
    let f4 = WeightFormat(identifier: "int4_g64")!
    let packed = model.replacingAll(
      with: model.operators.enumerated().map {
        RandomPacking.packed(f4, $1.shape, seed: UInt64($0))
      })
    for (name, m) in [("float", model), ("packed", packed)] {
      let s = Session(m, context: context, capacity: 600)
      let p512 = try time(5) {
        s.reset()
        _ = try s.forward(tokens, lastOnly: false)
      }
      let p128 = try time(5) {
        s.reset()
        _ = try s.forward(Array(tokens.prefix(128)), lastOnly: true)
      }
      s.reset()
      _ = try s.forward(Array(tokens.prefix(8)), lastOnly: true)
      let d8 = try time(50) {
        s.rewind(to: 8)
        _ = try s.forward([5], lastOnly: true)
      }
      s.reset()
      _ = try s.forward(tokens, lastOnly: true)
      let d512 = try time(50) {
        s.rewind(to: 512)
        _ = try s.forward([5], lastOnly: true)
      }
      print(
        "SPEED \(name): prefill512 all logits \(p512) ms, prefill128 \(p128) ms, decode@8 \(d8) ms, decode@512 \(d512) ms"
      )
    }
    // operators alone, decode
    let xs = model.operators.map { Activations(capacity: 1, inputFeatures: $0.shape.inputFeatures) }
    let ys = model.operators.map { FloatMatrix(rows: 1, columns: $0.shape.outputFeatures) }
    let ops = packed.weights.map { w -> PackedOperator in
      if case .packed(let p) = w { return p }
      fatalError()
    }
    let t = time(50) {
      for i in 1..<ops.count {
        xs[i].didChange(tokenCount: 1)
        context.multiply(ops[i], xs[i], into: ys[i])
      }
    }
    print("SPEED operators alone decode \(t) ms")
    let ev = try LanguageModelEvaluation(windows: [tokens])
    let ref = try ev.reference(of: model, context)
    let s = Session(packed, context: context, capacity: 512)
    let t2 = try time(5) { _ = try ev.divergence(s, from: ref) }
    print("SPEED divergence 512 packed \(t2) ms")
    let b = BackwardPass(model, context: context, capacity: 512)
    let t3 = try time(3) { _ = try b.run(tokens, labels: .sampled(seed: 1)) { _ in } }
    print("SPEED backward 512 \(t3) ms")
  }
}
