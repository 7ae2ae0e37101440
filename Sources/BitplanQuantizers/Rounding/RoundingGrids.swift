internal import BitplanKernels

/// The grids of the rows of a chunk: the values that each row's codes stand for.
///
/// A value is linear in each of a few stored numbers, its *parameters*, while the others stay: it
/// changes by `basis_p(code)` times what parameter `p` does (a scale times a level; an offset, a scale
/// and plane weights with signs). Matrices of a chunk are `[…][height]`.
protocol RoundingGrids: Sendable {
  /// Consecutive input features that share parameters.
  var span: Int { get }
  /// Parameters of one span that may be refitted; 0 where there is nothing to refit.
  var parameterCount: Int { get }
  /// Writes code and value nearest to `target`, `[height]`, of one input feature.
  func round(
    _ target: UnsafeMutablePointer<Float>, column: Int, codes: UnsafeMutablePointer<Float>,
    values: UnsafeMutablePointer<Float>)
  /// Writes what parameter `parameter` is multiplied by at `column` as the others are, `[height]`.
  func basis(
    _ parameter: Int, column: Int, codes: UnsafeMutablePointer<Float>,
    into target: UnsafeMutablePointer<Float>)
  /// A parameter of a span, one of every row: `[height]`.
  func parameters(_ parameter: Int, span: Int) -> UnsafeMutablePointer<Float>
  /// The number that would be stored for `wanted` as a row's parameter.
  func stored(_ wanted: Float, parameter: Int, span: Int, row: Int) -> Float
  /// Parameters of `span` have changed.
  func refresh(span: Int)
  /// Writes the values of codes anew, `[height]`, so that they are what will be stored.
  func value(
    column: Int, codes: UnsafeMutablePointer<Float>, into values: UnsafeMutablePointer<Float>)
}

/// Rows side by side in vectors.
enum Lanes {
  typealias Vector = SIMD16<Float>
  static let count = 16
  /// Rows of a chunk: their working set fits in the second-level cache at common widths.
  static let height = 64
  /// Adding and subtracting 1.5·2²³ rounds to the nearest integer, ties to even.
  static let roundingConstant: Float = 12_582_912

  @inline(__always)
  static func load(_ address: UnsafeMutablePointer<Float>) -> Vector {
    UnsafeRawPointer(address).loadUnaligned(as: Vector.self)
  }

  @inline(__always)
  static func store(_ value: Vector, _ address: UnsafeMutablePointer<Float>) {
    UnsafeMutableRawPointer(address).storeBytes(of: value, as: Vector.self)
  }

  /// The address of a matrix that its owner keeps.
  static func address(_ matrix: FloatMatrix) -> UnsafeMutablePointer<Float> {
    matrix.withUnsafeMutableBufferPointer { $0.baseAddress! }
  }
}
