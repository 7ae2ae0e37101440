internal import BitplanCore
internal import BitplanEngine
public import BitplanKernels
public import BitplanQuantizers

/// What one float pass over the calibration tokens tells about an operator's input.
public struct OperatorStatistics: Sendable {
  /// What codes are found with.
  public var input: InputStatistics
  /// Sampled inputs `[samples, inputFeatures]`, evenly spread over the calibration tokens.
  public let samples: FloatMatrix

  /// Makes statistics.
  public init(input: InputStatistics, samples: FloatMatrix) {
    self.input = input
    self.samples = samples
  }
}

extension OperatorStatistics {
  /// The same statistics with what `moments` know of the operators' inputs; operators that read the
  /// same input share one curvature.
  static func withCurvature(
    _ statistics: [OperatorStatistics], _ moments: InputMoments, _ model: Model, pool: ThreadPool
  ) -> [OperatorStatistics] {
    var shared: [Int: InputCurvature] = [:]
    return statistics.enumerated().map { index, statistics in
      let source = model.inputSource(of: index)
      if shared[source] == nil, let products = moments.meanProducts(of: index) {
        shared[source] = InputCurvature(takingOver: products, pool: pool)
      }
      var result = statistics
      result.input = InputStatistics(
        meanSquares: moments.meanSquares(of: index) ?? statistics.input.meanSquares,
        curvature: shared[source])
      return result
    }
  }
}

/// Gathers ``OperatorStatistics`` while a float pass runs. Operators that read the same input
/// share one matrix of samples.
final class StatisticsCollector {
  /// Inputs kept for every distinct input.
  static let sampleCount = 512

  private let model: Model
  private let moments: InputMoments
  private var seen: [Int]
  private var samples: [[Float]]
  private let stride: Int

  /// - Parameter expectedTokens: calibration tokens that will pass, to space the samples evenly.
  init(model: Model, expectedTokens: Int) {
    self.model = model
    moments = InputMoments(model)
    stride = max(1, expectedTokens / Self.sampleCount)
    seen = [Int](repeating: 0, count: model.operators.count)
    samples = model.operators.map { _ in [] }
  }

  /// Takes the first `tokenCount` rows of an operator's input; meant as `Session.observer`.
  func observe(_ index: Int, _ input: Activations, _ tokenCount: Int) {
    moments.observe(index, input, tokenCount)
    guard model.inputSource(of: index) == index else { return }
    let columns = input.values.columns
    input.values.withUnsafeBufferPointer { values in
      for token in 0..<tokenCount where (seen[index] + token) % stride == 0 {
        guard samples[index].count < Self.sampleCount * columns else { break }
        samples[index].append(
          contentsOf: UnsafeBufferPointer(rebasing: values[token * columns..<(token + 1) * columns])
        )
      }
    }
    seen[index] += tokenCount
  }

  /// The statistics of every operator, in the model's order.
  func finish() -> [OperatorStatistics] {
    var shared: [Int: FloatMatrix] = [:]
    return model.operators.indices.map { index in
      let source = model.inputSource(of: index)
      let columns = model.operators[index].shape.inputFeatures
      let matrix =
        shared[source]
        ?? FloatMatrix(
          rows: samples[source].count / columns, columns: columns, values: samples[source])
      shared[source] = matrix
      return OperatorStatistics(
        input: InputStatistics(meanSquares: moments.meanSquares(of: index), curvature: nil),
        samples: matrix)
    }
  }
}
