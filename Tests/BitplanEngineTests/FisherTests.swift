import BitplanCheckpoint
import BitplanCore
import BitplanEngine
import BitplanKernels
import BitplanQuantizers
import BitplanTestSupport
import Foundation
import Testing

struct FisherTests {
  @Test("squared gradients of sampled labels predict the KL divergence of quantized operators")
  func predictsDivergence() throws {
    let model = try GoldenTests.model(Fixtures.docsLlama)
    let context = try Tiny.context()
    let tokenizer = try Tokenizers.load(
      path: Fixtures.docsLlama.appending(path: "tokenizer.json").path)
    let text = try String(
      contentsOf: Fixtures.docsLlama.appending(path: "calibration.txt"), encoding: .utf8)
    let ids = tokenizer.encode(String(text.prefix(20_000)), addSpecialTokens: false)
    let windows = LanguageModelEvaluation.windows(of: ids, length: 256, limit: 8)
    let chosen = ["model.layers.1.self_attn.q_proj", "model.layers.4.mlp.down_proj"]
      .compactMap(model.operatorIndex)

    // Mean squares of the output gradients, and mean products of the inputs.
    let moments = InputMoments(model, detail: .full)
    let session = Session(model, context: context, capacity: 256)
    session.observer = { index, input, count in
      if chosen.contains(model.inputSource(of: index)) || chosen.contains(index) {
        moments.observe(model.inputSource(of: index), input, count)
      }
    }
    let evaluation = try LanguageModelEvaluation(windows: windows)
    let reference = try evaluation.reference(session)
    session.observer = nil
    var squares = [Int: [Double]]()
    let pass = BackwardPass(model, context: context, capacity: 256)
    for (number, window) in windows.enumerated() {
      try pass.run(window, labels: .sampled(seed: UInt64(number))) { gradient in
        let index = gradient.operatorIndex
        guard chosen.contains(index) else { return }
        let columns = gradient.outputGradient.columns
        var sums = squares[index] ?? [Double](repeating: 0, count: columns)
        gradient.outputGradient.withUnsafeBufferPointer { values in
          for token in 0..<gradient.tokenCount {
            for column in 0..<columns {
              let value = Double(values[token * columns + column])
              sums[column] += value * value
            }
          }
        }
        squares[index] = sums
      }
    }
    let tokens = Double(windows.count * 256)
    let format = try #require(WeightFormat(identifier: "int4_g64"))
    for index in chosen {
      let weights = model.floatWeights(of: index)
      let codes = RoundToNearest(pool: context.pool).quantize(weights, as: format)
      let quantized = FloatMatrix(
        rows: weights.rows, columns: weights.columns, values: codes.dequantized())
      let products = try #require(moments.meanProducts(of: index))
      // ½ Σ_r E[g_r²] · Δ_r H Δ_rᵀ
      var predicted = 0.0
      for row in 0..<weights.rows {
        let delta = (0..<weights.columns).map { quantized[row, $0] - weights[row, $0] }
        var error = 0.0
        for j in delta.indices {
          var inner: Float = 0
          for k in delta.indices { inner += products[j, k] * delta[k] }
          error += Double(delta[j] * inner)
        }
        predicted += 0.5 * (squares[index]?[row] ?? 0) / tokens * error
      }
      let measured = try evaluation.divergence(
        of: model.replacing(index, with: .float(quantized)), from: reference, context
      ).klDivergence.mean
      print("\(model.operators[index].name): predicted KL \(predicted), measured \(measured)")
      // The prediction leaves out correlations between rows and tokens, and comes from one draw of
      // labels: a wrong scale (the mean instead of the sum of losses, say) is off by 256.
      #expect((0.6...1.6).contains(predicted / measured))
    }
  }
}
