public import BitplanCore

extension WeightFormat {
  /// The formats of even steps and `f16`: one ladder of widths at every group size, which made-up
  /// artifacts need.
  public static let evenSteps: [WeightFormat] = all.filter {
    [.affine, .symmetric, .float16].contains($0.coding)
  }
}
