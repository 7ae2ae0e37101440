import BitplanCore
import BitplanEngine
import BitplanKernels
import BitplanQuantizers
import BitplanSensitivity

/// A side branch on every linear operator of a plan.
///
/// No kernel adds a branch, so the sum of codes and branch is executed as float weights, with
/// activations rounded to 8 bits as the kernels round them.
struct BranchPlan {
  private let branch: Technique.Branch
  private let changed: TechniqueModel
  private let outliers: [Int: SparseOutliers]
  /// What the branches add to the plan's bytes.
  let storedBytes: Int

  init(_ branch: Technique.Branch, _ changed: TechniqueModel, _ bench: TechniqueBench) throws {
    self.branch = branch
    self.changed = changed
    let model = changed.model
    var (bytes, outliers) = (0, [Int: SparseOutliers]())
    for index in Self.linear(model) {
      switch branch {
      case .lowRank(let rank):
        bytes += LowRankBranch.storedBytes(model.operators[index].shape, rank: rank)
      case .outliers(let share):
        let sparse = SparseOutliers(
          of: model.floatWeights(of: index), share: share, groupSize: 128,
          meanSquaredInput: changed.statistics.operators[index].input.meanSquares)
        bytes += sparse.storedBytes
        outliers[index] = sparse
      }
    }
    storedBytes = bytes
    self.outliers = outliers
  }

  private static func linear(_ model: Model) -> [Int] {
    model.operators.indices.filter { model.operators[$0].role == .linear }
  }

  /// The plan with its branches: they are fitted to what `packed` leaves over, or taken out of the
  /// weights, and codes are found again for the rest.
  func executed(
    _ packed: [PackedOperator], _ quantize: (Model) throws -> [PackedOperator]
  ) throws -> Model {
    let model = changed.model
    var rest = model
    var products: [Int: FloatMatrix] = [:]
    for index in Self.linear(model) {
      let weights = model.floatWeights(of: index)
      if let sparse = outliers[index] {
        rest.weights[index] = .float(sparse.removed(from: weights, groupSize: 128))
      } else if case .lowRank(let rank) = branch {
        let product = LowRankBranch(
          residual: Self.sum(weights, packed[index].dequantized(), -1), rank: rank,
          samples: changed.statistics.operators[index].samples,
          importance: changed.statistics.gradients?.meanSquares[index]
        ).product
        products[index] = product
        rest.weights[index] = .float(Self.sum(weights, product, -1))
      }
    }
    let again = try quantize(rest)
    var result = model.replacingAll(with: again)
    for index in Self.linear(model) {
      let codes = again[index].dequantized()
      outliers[index]?.restore(in: codes)
      result.weights[index] = .float(
        products[index].map { Self.sum(codes, $0, 1) } ?? codes, activationGroupSize: 128)
    }
    return result
  }

  /// `a + factor · b`.
  private static func sum(_ a: FloatMatrix, _ b: FloatMatrix, _ factor: Float) -> FloatMatrix {
    FloatMatrix(
      rows: a.rows, columns: a.columns, values: zip(a.values, b.values).map { $0 + factor * $1 })
  }
}
