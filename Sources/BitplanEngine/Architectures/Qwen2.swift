package import BitplanCheckpoint

/// Qwen2 and Qwen2.5 (Yang et al. 2024, arXiv:2407.10671): a Llama whose query, key and value
/// projections have biases.
package struct Qwen2: DecoderArchitecture {
  package static let modelType = "qwen2"

  package let decoder: Decoder

  package init(_ configuration: ModelConfiguration, tensorNames: Set<String>) throws {
    decoder = try Decoder(
      configuration, queryKeyValueBias: true, outputBias: false, mlpBias: false,
      usesSlidingWindow: false)
  }
}
