package import BitplanCheckpoint

/// Mistral (Jiang et al. 2023, arXiv:2310.06825): a Llama that may have a sliding window. Sequences
/// are limited to the window.
package struct Mistral: DecoderArchitecture {
  package static let modelType = "mistral"

  package let decoder: Decoder

  package init(_ configuration: ModelConfiguration, tensorNames: Set<String>) throws {
    decoder = try Decoder(
      configuration, queryKeyValueBias: false, outputBias: false, mlpBias: false)
  }
}
