import BitplanCore
import BitplanKernels
import BitplanQuantizers
import Foundation

/// What it takes to find the codes of one large layer: seconds and memory.
enum LayerStudy {
  /// Shapes of an 8-billion-parameter model: `[outputFeatures, inputFeatures]`.
  static let shapes = [(4096, 4096), (14336, 4096), (4096, 14336)]

  /// Quantizes one operator of every shape by error feedback and prints what it took.
  static func run(format: WeightFormat) throws {
    let pool = ThreadPool(threadCount: ThreadPool.availableProcessorCount)
    print("\(format), \(pool.threadCount) threads")
    for (rows, columns) in shapes {
      var generator = SeededGenerator(state: 1)
      let weights = FloatMatrix(rows: rows, columns: columns)
      weights.withUnsafeMutableBufferPointer { buffer in
        for index in buffer.indices {
          buffer[index] = Float.random(in: -0.1...0.1, using: &generator)
        }
      }
      // Neighbouring inputs are alike, as after a convolution of white noise.
      let products = FloatMatrix(rows: columns, columns: columns)
      products.withUnsafeMutableBufferPointer { buffer in
        for row in 0..<columns {
          for column in max(0, row - 40)..<min(columns, row + 41) {
            buffer[row * columns + column] =
              Float(41 - abs(row - column)) / 41 + (row == column ? 0.1 : 0)
          }
        }
      }
      let meanSquares = [Float](repeating: 1.1, count: columns)
      let clock = ContinuousClock()
      let factor = clock.measure { curvature = InputCurvature(takingOver: products, pool: pool) }
      guard let curvature else { return }
      let codes = clock.measure {
        _ = OperatorQuantizer(.errorFeedback, pool: pool).quantize(
          weights, as: format, InputStatistics(meanSquares: meanSquares, curvature: curvature))
      }
      print("\(rows)×\(columns): factor \(factor), codes \(codes), peak \(peakMebibytes()) MiB")
      fflush(nil)
    }
  }

  private nonisolated(unsafe) static var curvature: InputCurvature?

  /// The largest memory that this process has had, as the kernel counts it.
  private static func peakMebibytes() -> Int {
    let status = (try? String(contentsOfFile: "/proc/self/status", encoding: .utf8)) ?? ""
    let line = status.split(separator: "\n").first { $0.hasPrefix("VmHWM:") } ?? ""
    return (line.split(separator: " ").compactMap { Int($0) }.first ?? 0) / 1024
  }
}
