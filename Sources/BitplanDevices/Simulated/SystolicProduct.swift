public import BitplanCore

/// One matrix product as an array sees it.
public struct SystolicProduct: Hashable, Sendable {
  /// Rows of the weight matrix.
  public var outputFeatures: Int
  /// Columns of the weight matrix.
  public var inputFeatures: Int
  /// Tokens multiplied at once.
  public var tokens: Int
  /// Bits of a weight's code.
  public var weightBits: Int
  /// Bits of an activation.
  public var activationBits: Int
  /// Weights along the input features that share a scale; the input features where there is none.
  public var groupSize: Int
  /// Stored bits of a group's scale and zero point; 0 where weights need no dequantization.
  public var scaleBits: Int

  /// Makes a product; all sizes must be positive.
  public init(
    outputFeatures: Int, inputFeatures: Int, tokens: Int, weightBits: Int, activationBits: Int,
    groupSize: Int, scaleBits: Int
  ) {
    precondition(
      outputFeatures > 0 && inputFeatures > 0 && tokens > 0 && weightBits > 0 && activationBits > 0
        && groupSize > 0 && scaleBits >= 0, "a product is never empty")
    self.outputFeatures = outputFeatures
    self.inputFeatures = inputFeatures
    self.tokens = tokens
    self.weightBits = weightBits
    self.activationBits = activationBits
    self.groupSize = min(groupSize, inputFeatures)
    self.scaleBits = scaleBits
  }

  /// The product that `format` asks of `array`.
  ///
  /// Codes of 1 to 8 bits are what they are, but those that stand for 8-bit levels arrive as such:
  /// an array has no tables and no second scale. Activations have the array's width, 8 bits at least.
  /// Binary16 weights meet binary16 activations: on an array whose elements are narrower than 16
  /// bits both are taken as significands with sign, 12 bits, in several cycles each.
  public init(format: WeightFormat, shape: MatrixShape, tokens: Int, on array: SystolicArray) {
    let width: (weight: Int, activation: Int)
    switch format.coding {
    case .affine, .symmetric, .blockFloat, .perRow, .binary:
      width = (format.bitWidth, max(8, array.activationBits))
    case .nonlinear, .twoLevel: width = (8, max(8, array.activationBits))
    case .float16:
      width = (array.weightBits < 16 ? 12 : 16, array.activationBits < 16 ? 12 : 16)
    }
    let scaleBits =
      switch format.coding {
      case .affine: 16 + format.bitWidth
      case .symmetric, .nonlinear, .perRow: 16
      case .blockFloat, .twoLevel: 8
      case .binary: 32 + (format.bitWidth > 1 ? 8 * format.bitWidth : 0)
      case .float16: 0
      }
    self.init(
      outputFeatures: shape.outputFeatures, inputFeatures: shape.inputFeatures, tokens: tokens,
      weightBits: width.weight, activationBits: width.activation,
      groupSize: format.coding == .float16 || format.coding == .perRow
        ? shape.inputFeatures : format.groupSize,
      scaleBits: scaleBits)
  }

  /// Multiply-adds of the whole product.
  public var multiplyAdds: Int { outputFeatures * inputFeatures * tokens }

  /// Stored bits of a tile of weights: codes, and the scales of every group that it touches.
  func weightTileBits(outputFeatures: Int, inputFeatures: Int) -> Int {
    // 12-bit significands are read from 16-bit numbers.
    let codeBits = scaleBits == 0 && weightBits == 12 ? 16 : weightBits
    return outputFeatures
      * (inputFeatures * codeBits + inputFeatures.dividedUp(by: groupSize) * scaleBits)
  }

  /// Stored bits of a tile of activations.
  func activationTileBits(tokens: Int, inputFeatures: Int) -> Int {
    tokens * inputFeatures * (activationBits == 12 ? 16 : activationBits)
  }
}
