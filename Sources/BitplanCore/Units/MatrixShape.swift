/// The shape of one operator's weight matrix: `[outputFeatures, inputFeatures]`, row-major.
public struct MatrixShape: Hashable, Sendable, Codable {
  /// Rows: elements of `y` in `y = W · x`.
  public let outputFeatures: Int
  /// Columns: elements of `x` in `y = W · x`.
  public let inputFeatures: Int

  /// The largest number of output or input features: sizes fit 32 signed bits.
  public static let largestSize = Int(Int32.max)
  /// The largest number of weights, so that stored bytes, padding included, stay far from overflow
  /// and are exact as `Double`.
  public static let largestWeightCount = 1 << 50

  /// Both sizes must be positive.
  public init(outputFeatures: Int, inputFeatures: Int) {
    precondition(outputFeatures > 0 && inputFeatures > 0, "a weight matrix is never empty")
    self.outputFeatures = outputFeatures
    self.inputFeatures = inputFeatures
  }

  private enum CodingKeys: String, CodingKey { case outputFeatures, inputFeatures }

  /// Decodes both sizes; sizes out of range are an error.
  public init(from decoder: any Decoder) throws {
    let container = try decoder.container(keyedBy: CodingKeys.self)
    let outputFeatures = try container.decode(Int.self, forKey: .outputFeatures)
    let inputFeatures = try container.decode(Int.self, forKey: .inputFeatures)
    if let problem = Self.problem(outputFeatures: outputFeatures, inputFeatures: inputFeatures) {
      throw DecodingError.dataCorrupted(
        DecodingError.Context(
          codingPath: decoder.codingPath, debugDescription: "the shape " + problem))
    }
    self.init(outputFeatures: outputFeatures, inputFeatures: inputFeatures)
  }

  /// What keeps two numbers from being a shape, or `nil`.
  static func problem(outputFeatures: Int, inputFeatures: Int) -> String? {
    let sizes = 1...largestSize
    guard sizes.contains(outputFeatures), sizes.contains(inputFeatures),
      outputFeatures * inputFeatures <= largestWeightCount
    else {
      return
        "is \(outputFeatures)×\(inputFeatures), and sizes must lie in 1…\(largestSize) with at "
        + "most 2⁵⁰ weights"
    }
    return nil
  }

  /// Logical weights, without padding.
  public var weightCount: Int { outputFeatures * inputFeatures }
}

extension MatrixShape: CustomStringConvertible {
  /// For example `256×768`.
  public var description: String { "\(outputFeatures)×\(inputFeatures)" }
}
