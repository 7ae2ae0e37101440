internal import BitplanCore
public import BitplanEngine
public import BitplanKernels
internal import BitplanQuantizers

extension Rotation {
  /// A rotation `P₁ ⊗ P₂` of inputs that spreads their energy evenly, found from samples of them.
  ///
  /// The form is FlatQuant's (Sun et al. 2024, arXiv:2410.09426): two small matrices whose sizes are
  /// as near to the root of the input's as divisors come. FlatQuant trains them, block by block and by
  /// gradients, and they need not be orthogonal; here nothing is trained. Each matrix is the principal
  /// axes of its index (``PrincipalAxes``) times a seeded Hadamard-like rotation of its size: along the
  /// axes, inputs are as uncorrelated as this form can make them, and the rotation then gives every
  /// feature the same share of every axis.
  ///
  /// - Parameters:
  ///   - samples: inputs, `[samples, slow · fast]`.
  ///   - slow: the first matrix's size.
  ///   - seed: of the first matrix's rotation; the second takes the next.
  public static func spreading(
    _ samples: FloatMatrix, slow: Int, seed: UInt64, _ pool: ThreadPool
  ) -> Rotation {
    let axes = PrincipalAxes.ofMatrices(samples, slow: slow)
    func spread(_ axes: FloatMatrix, _ seed: UInt64) -> FloatMatrix {
      Rotation(size: axes.rows, seed: seed).turningRows(of: axes, pool)
    }
    return Rotation(slow: spread(axes.slow, seed), fast: spread(axes.fast, seed &+ 1))
  }
}
