public import BitplanCore
public import BitplanKernels

/// What one float pass over the calibration tokens tells about an operator's input.
public struct OperatorStatistics: Sendable {
  /// `E[x_k²]` for every input feature; `nil` for a table that is only looked up.
  public let meanSquaredInput: [Float]?
  /// Sampled inputs `[samples, inputFeatures]`, evenly spread over the calibration tokens.
  public let samples: FloatMatrix

  /// Makes statistics.
  public init(meanSquaredInput: [Float]?, samples: FloatMatrix) {
    self.meanSquaredInput = meanSquaredInput
    self.samples = samples
  }
}

/// Gathers ``OperatorStatistics`` while a float pass runs.
public final class StatisticsCollector {
  /// Inputs kept for every operator.
  public static let sampleCount = 256

  private var squares: [[Double]]
  private var tokenCounts: [Int]
  private var samples: [[Float]]
  private var kept: [Int]
  private let stride: Int
  private let operators: [OperatorDescription]

  /// - Parameter expectedTokens: calibration tokens that will pass, to space the samples evenly.
  public init(operators: [OperatorDescription], expectedTokens: Int) {
    self.operators = operators
    stride = max(1, expectedTokens / Self.sampleCount)
    squares = operators.map { [Double](repeating: 0, count: $0.shape.inputFeatures) }
    tokenCounts = [Int](repeating: 0, count: operators.count)
    samples = operators.map { _ in [] }
    kept = [Int](repeating: 0, count: operators.count)
  }

  /// Takes the first `tokenCount` rows of an operator's input.
  public func observe(_ index: Int, _ input: FloatMatrix, tokenCount: Int) {
    let columns = operators[index].shape.inputFeatures
    input.withUnsafeBufferPointer { values in
      squares[index].withUnsafeMutableBufferPointer { squares in
        for token in 0..<tokenCount {
          for column in 0..<columns {
            let x = Double(values[token * columns + column])
            squares[column] += x * x
          }
        }
      }
      for token in 0..<tokenCount where (tokenCounts[index] + token) % stride == 0 {
        guard kept[index] < Self.sampleCount else { break }
        samples[index].append(
          contentsOf: UnsafeBufferPointer(rebasing: values[token * columns..<(token + 1) * columns]))
        kept[index] += 1
      }
    }
    tokenCounts[index] += tokenCount
  }

  /// The statistics of every operator, in the model's order.
  public func finish() -> [OperatorStatistics] {
    operators.indices.map { index in
      let columns = operators[index].shape.inputFeatures
      let count = Double(max(1, tokenCounts[index]))
      return OperatorStatistics(
        meanSquaredInput: tokenCounts[index] > 0 ? squares[index].map { Float($0 / count) } : nil,
        samples: FloatMatrix(rows: kept[index], columns: columns, values: samples[index]))
    }
  }
}
