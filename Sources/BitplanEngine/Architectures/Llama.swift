package import BitplanCheckpoint

/// Llama (Touvron et al. 2023, arXiv:2302.13971), versions 1 to 3, as transformers stores it.
package struct Llama: DecoderArchitecture {
  package static let modelType = "llama"

  /// Sizes and switches of the decoder.
  package let decoder: Decoder

  /// Wraps a decoder made by hand.
  package init(_ decoder: Decoder) { self.decoder = decoder }

  package init(_ configuration: ModelConfiguration, tensorNames: Set<String>) throws {
    let attentionBias = try configuration.boolean("attention_bias", default: false)
    let mlpBias = try configuration.boolean("mlp_bias", default: false)
    decoder = try Decoder(
      configuration, queryKeyValueBias: attentionBias, outputBias: attentionBias, mlpBias: mlpBias)
  }
}
