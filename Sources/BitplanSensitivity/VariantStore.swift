internal import BitplanCheckpoint
public import BitplanCore
public import BitplanEngine
public import BitplanKernels
public import BitplanQuantizers

/// Packed forms of a model's operators, quantized when first needed.
///
/// A variant is set aside on disk and read back when it is needed again: all formats of all operators
/// take more memory than the float model. Past ``maximumBytes``, or where the disk has no room, it is
/// made again each time, which costs time alone.
public final class VariantStore {
  /// Bytes of packed variants that may be set aside.
  public let maximumBytes: Int

  private let model: Model
  private let statistics: [OperatorStatistics]
  private let quantizer: OperatorQuantizer
  private let file: ScratchFile?
  private var kept: [Key: Range<Int>] = [:]
  private var keptBytes = 0
  /// The one that was asked for last: formats of one operator are often asked for twice in a row.
  private var last: (key: Key, packed: PackedOperator)?

  /// The side branch that was fitted last: its formats are asked for one after the other.
  private var fitted: (index: Int, branch: SideBranch, fit: BranchFit)?

  private struct Key: Hashable {
    let index: Int
    let format: WeightFormat
  }

  /// Variants of the float operators of `model`.
  public init(
    model: Model, statistics: [OperatorStatistics], quantizer: OperatorQuantizer,
    maximumBytes: Int = 64 << 30
  ) {
    precondition(statistics.count == model.operators.count)
    self.model = model
    self.statistics = statistics
    self.quantizer = quantizer
    self.maximumBytes = maximumBytes
    file = maximumBytes > 0 ? try? ScratchFile() : nil
  }

  /// The threads that codes are found on.
  var pool: ThreadPool { quantizer.pool }

  /// The operator at `index` in `format`.
  public func variant(_ index: Int, _ format: WeightFormat) -> PackedOperator {
    let key = Key(index: index, format: format)
    if let last, last.key == key { return last.packed }
    let packed = read(key) ?? make(key)
    last = (key, packed)
    return packed
  }

  /// The operator at `index` in `format` with a side branch, dequantized; set aside nowhere, since it
  /// is asked for once.
  func restored(_ index: Int, _ format: WeightFormat, beside branch: SideBranch) -> FloatMatrix {
    let fit: BranchFit
    if let fitted, fitted.index == index, fitted.branch == branch {
      fit = fitted.fit
    } else {
      fit = BranchFit(
        branch, model.floatWeights(of: index),
        meanSquaredInput: statistics[index].input.meanSquares)
      fitted = (index, branch, fit)
    }
    var packed = PackedOperator(
      PackedMatrix(
        packing: quantizer.quantize(fit.rest, as: format, statistics[index].input)))
    packed.branch = fit.packed
    return packed.dequantized()
  }

  private func read(_ key: Key) -> PackedOperator? {
    guard let range = kept[key], let file else { return nil }
    let layout = PackedLayout(key.format, model.operators[key.index].shape)
    let storage = AlignedBytes(count: range.count)
    guard (try? storage.withUnsafeMutableBytes({ try file.read(range, into: $0) })) != nil,
      let matrix = try? PackedMatrix(
        layout, bytes: ByteSlice(region: storage, range: 0..<range.count))
    else {
      kept[key] = nil
      return nil
    }
    return PackedOperator(matrix)
  }

  private func make(_ key: Key) -> PackedOperator {
    let matrix = PackedMatrix(
      packing: quantizer.quantize(
        model.floatWeights(of: key.index), as: key.format, statistics[key.index].input))
    let bytes = matrix.layout.storedBytes
    if let file, keptBytes + bytes <= maximumBytes,
      let range = try? matrix.bytes.withUnsafeBytes({ try file.append($0) })
    {
      kept[key] = range
      keptBytes += bytes
    }
    return PackedOperator(matrix)
  }

  /// Activation-weighted relative output error of a variant: the prior of its loss.
  ///
  /// - Parameter tokens: ids that are looked up, for an operator that is only looked up.
  public func relativeOutputError(_ index: Int, _ format: WeightFormat, tokens: [Int]) -> Double {
    let packed = variant(index, format)
    let original = model.floatWeights(of: index)
    if model.operators[index].isMultiplied, statistics[index].samples.rows > 0 {
      let samples = statistics[index].samples
      let signal = OutputError.meanSquaredOutput(original, samples: samples, pool: pool)
        .reduce(0, +)
      let error = OutputError.meanSquared(
        original: original, quantized: packed.dequantized(), samples: samples, pool: pool
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
