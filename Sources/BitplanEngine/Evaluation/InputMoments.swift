import BitplanCore
public import BitplanKernels
import CBLAS

/// Second moments of the inputs of a model's operators, gathered while a float pass runs.
///
/// Operators that read the same input share one entry. Tables that are only looked up have none.
public final class InputMoments {
  /// What is kept for every input.
  public enum Detail: Hashable, Sendable {
    /// `E[x_k²]`.
    case diagonal
    /// `E[x_j x_k]` as well, `[inputFeatures, inputFeatures]`.
    case full
  }

  /// What is kept.
  public let detail: Detail
  private let model: Model
  private var tokenCounts: [Int]
  private var squares: [[Double]]
  private var products: [FloatMatrix?]

  /// Nothing gathered yet.
  public init(_ model: Model, detail: Detail = .diagonal) {
    self.model = model
    self.detail = detail
    tokenCounts = [Int](repeating: 0, count: model.operators.count)
    squares = model.operators.map { _ in [] }
    products = model.operators.map { _ in nil }
  }

  /// Takes one operator's input; meant as `Session.observer`.
  public func observe(_ index: Int, _ input: Activations, _ tokenCount: Int) {
    guard model.inputSource(of: index) == index else { return }
    let columns = input.values.columns
    if squares[index].isEmpty {
      squares[index] = [Double](repeating: 0, count: columns)
      if detail == .full { products[index] = FloatMatrix(rows: columns, columns: columns) }
    }
    tokenCounts[index] += tokenCount
    let product = products[index]
    input.values.withAddress { x in
      squares[index].withUnsafeMutableBufferPointer { squares in
        for token in 0..<tokenCount {
          let row = x + token * columns
          for column in 0..<columns { squares[column] += Double(row[column]) * Double(row[column]) }
        }
      }
      if let product {
        FloatProduct.prepare()
        product.withAddress { product in
          cblas_ssyrk(
            CblasRowMajor, CblasUpper, CblasTrans, Int32(columns), Int32(tokenCount), 1, x,
            Int32(columns), 1, product, Int32(columns))
        }
      }
    }
  }

  /// Tokens that an operator's input was seen for.
  public func tokenCount(of index: Int) -> Int { tokenCounts[model.inputSource(of: index)] }

  /// `E[x_k²]` of an operator's input, `[inputFeatures]`; `nil` when it was never multiplied.
  public func meanSquares(of index: Int) -> [Float]? {
    let source = model.inputSource(of: index)
    guard tokenCounts[source] > 0 else { return nil }
    let count = Double(tokenCounts[source])
    return squares[source].map { Float($0 / count) }
  }

  /// `E[x_j x_k]` of an operator's input, symmetric `[inputFeatures, inputFeatures]`; `nil` unless
  /// ``Detail/full`` was asked for and the operator was multiplied.
  public func meanProducts(of index: Int) -> FloatMatrix? {
    let source = model.inputSource(of: index)
    guard let upper = products[source], tokenCounts[source] > 0 else { return nil }
    let factor = 1 / Float(tokenCounts[source])
    let size = upper.rows
    let result = FloatMatrix(rows: size, columns: size)
    withAddresses(upper, result) { upper, result in
      for row in 0..<size {
        for column in row..<size {
          let value = upper[row * size + column] * factor
          result[row * size + column] = value
          result[column * size + row] = value
        }
      }
    }
    return result
  }
}
