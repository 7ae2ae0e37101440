internal import BitplanCore
internal import BitplanEngine
public import BitplanKernels
public import BitplanQuantizers

/// What float passes over the calibration tokens tell about an operator's input.
public struct OperatorStatistics: Sendable {
  /// What codes are found with.
  public var input: InputStatistics
  /// Sampled inputs `[samples, inputFeatures]`, evenly spread over the calibration tokens. They may be
  /// read from disk each time: hold on to them while they are in use.
  public var samples: FloatMatrix { load() }
  private let load: @Sendable () -> FloatMatrix

  /// Makes statistics.
  public init(input: InputStatistics, samples: FloatMatrix) {
    self.init(input: input) { samples }
  }

  /// Makes statistics whose samples are somewhere else until they are asked for.
  init(input: InputStatistics, loading: @escaping @Sendable () -> FloatMatrix) {
    self.input = input
    load = loading
  }
}

/// Gathers ``OperatorStatistics`` while a float pass runs, layer by layer. Operators that read the
/// same input share one matrix of samples.
final class StatisticsCollector {
  /// Inputs kept for every distinct input.
  static let sampleCount = 512

  private let model: Model
  private let moments: InputMoments
  private let spool: StatisticsSpool
  private var seen: [Int]
  private var samples: [Int: (matrix: FloatMatrix, count: Int)] = [:]
  private let stride: Int

  /// - Parameter expectedTokens: calibration tokens that will pass, to space the samples evenly.
  init(model: Model, expectedTokens: Int, spool: StatisticsSpool) {
    self.model = model
    self.spool = spool
    moments = InputMoments(model)
    stride = max(1, expectedTokens / Self.sampleCount)
    seen = [Int](repeating: 0, count: model.operators.count)
  }

  /// Takes the first `tokenCount` rows of an operator's input; meant as `Session.observer`.
  func observe(_ index: Int, _ input: Activations, _ tokenCount: Int) {
    moments.observe(index, input, tokenCount)
    guard model.inputSource(of: index) == index else { return }
    let columns = input.values.columns
    var (matrix, count) =
      samples[index]
      ?? (FloatMatrix(rows: Self.sampleCount, columns: columns), 0)
    input.values.withUnsafeBufferPointer { values in
      matrix.withUnsafeMutableBufferPointer { target in
        for token in 0..<tokenCount
        where (seen[index] + token) % stride == 0 && count < Self.sampleCount {
          for column in 0..<columns {
            target[count * columns + column] = values[token * columns + column]
          }
          count += 1
        }
      }
    }
    samples[index] = (matrix, count)
    seen[index] += tokenCount
  }

  /// The statistics of some operators, whose inputs have all been seen. Their samples are set aside.
  func finish(_ operators: [Int]) throws -> [Int: OperatorStatistics] {
    var stored: [Int: @Sendable () -> FloatMatrix] = [:]
    var result: [Int: OperatorStatistics] = [:]
    for index in operators {
      let source = model.inputSource(of: index)
      if stored[source] == nil {
        let columns = model.operators[index].shape.inputFeatures
        let (matrix, count) =
          samples.removeValue(forKey: source)
          ?? (FloatMatrix(rows: 0, columns: columns), 0)
        stored[source] = try spool.store(matrix, rows: count)
      }
      guard let load = stored[source] else { continue }
      result[index] = OperatorStatistics(
        input: InputStatistics(meanSquares: moments.meanSquares(of: index), curvature: nil),
        loading: load)
    }
    return result
  }
}
