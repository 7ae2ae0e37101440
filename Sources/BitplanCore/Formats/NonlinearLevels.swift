/// What the 16 codes of the non-linear formats stand for, before the scale.
///
/// `Scripts/fit_nonlinear_table.py` made them: Lloyd's algorithm (Lloyd 1982, "Least squares
/// quantization in PCM") over groups of 64 normal and Laplace weights, in which every group takes
/// its best scale, of either sign; then rounded to integers. On such weights the squared error is
/// three quarters of that of 16 even steps.
public enum NonlinearLevels {
  /// Ascending; code `i` stands for `values[i]`.
  public static let values: [Int8] = [
    -127, -92, -71, -54, -40, -28, -17, -7, 3, 13, 25, 37, 51, 68, 87, 113,
  ]

  /// The level of a code below 16.
  public static func value(_ code: UInt8) -> Float { Float(values[Int(code)]) }
}
