public import BitplanCore
public import BitplanEngine
public import BitplanKernels
public import BitplanQuantizers

/// Packed forms of a model's operators, quantized when first needed.
///
/// A variant is kept while all kept ones fit ``maximumBytes``; past that it is made again each
/// time, which costs time and never memory.
public final class VariantStore {
  /// Bytes of packed variants that may be kept.
  public let maximumBytes: Int

  private let model: Model
  private let statistics: [OperatorStatistics]
  private let quantizer: OperatorQuantizer
  private var kept: [Key: PackedOperator] = [:]
  private var keptBytes = 0

  private struct Key: Hashable {
    let index: Int
    let format: WeightFormat
  }

  /// Variants of the float operators of `model`.
  public init(
    model: Model, statistics: [OperatorStatistics], quantizer: OperatorQuantizer,
    maximumBytes: Int = 2 << 30
  ) {
    precondition(statistics.count == model.operators.count)
    self.model = model
    self.statistics = statistics
    self.quantizer = quantizer
    self.maximumBytes = maximumBytes
  }

  /// The operator at `index` in `format`.
  public func variant(_ index: Int, _ format: WeightFormat) -> PackedOperator {
    let key = Key(index: index, format: format)
    if let packed = kept[key] { return packed }
    let codes = quantizer.quantize(
      model.floatWeights(of: index), as: format, statistics[index].input)
    let packed = PackedOperator(PackedMatrix(packing: codes))
    let bytes = format.storedBytes(model.operators[index].shape)
    if keptBytes + bytes <= maximumBytes {
      kept[key] = packed
      keptBytes += bytes
    }
    return packed
  }

  /// Activation-weighted relative output error of a variant: the prior of its loss.
  ///
  /// - Parameter tokens: ids that are looked up, for an operator that is only looked up.
  public func relativeOutputError(_ index: Int, _ format: WeightFormat, tokens: [Int]) -> Double {
    let packed = variant(index, format)
    let original = model.floatWeights(of: index)
    if model.operators[index].isMultiplied, statistics[index].samples.rows > 0 {
      let samples = statistics[index].samples
      let signal = OutputError.meanSquaredOutput(original, samples: samples).reduce(0, +)
      let error = OutputError.meanSquared(
        original: original, quantized: packed.dequantized(), samples: samples
      ).reduce(0, +)
      return signal > 0 ? error / signal : 0
    }
    let error = squaredLookUpError(index, format, tokens: tokens)
    return error.signal > 0 ? error.noise / error.signal : 0
  }

  /// Sums over `tokens` of the squared error of a looked-up row and of the row's squared length.
  private func squaredLookUpError(
    _ index: Int, _ format: WeightFormat, tokens: [Int]
  ) -> (noise: Double, signal: Double) {
    let original = model.floatWeights(of: index)
    let columns = original.columns
    let looked = Array(tokens.prefix(2048))
    let rows = FloatMatrix(rows: looked.count, columns: columns)
    variant(index, format).lookUp(looked, into: rows)
    var (noise, signal) = (0.0, 0.0)
    original.withUnsafeBufferPointer { table in
      rows.withUnsafeBufferPointer { quantized in
        for (row, token) in looked.enumerated() {
          for column in 0..<columns {
            let w = Double(table[token * columns + column])
            let difference = Double(quantized[row * columns + column]) - w
            noise += difference * difference
            signal += w * w
          }
        }
      }
    }
    return (noise, signal)
  }
}
