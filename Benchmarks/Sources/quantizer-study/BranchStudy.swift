import BitplanCore
import BitplanEngine
import BitplanKernels
import BitplanQuantizers
import BitplanSensitivity
import Foundation
import StudyRecords

/// Low-rank branches and sparse outliers against the same bytes spent on other codes.
///
/// For every linear operator the loss that gradients predict is added up with and without the side
/// branch; beside it stands what plain formats would lose at the branch's bytes, read off the line
/// between the two nearest formats (logarithm of the loss against bytes).
struct BranchStudy {
  private let bench: Bench
  /// Rows whose second moment is that of an operator's inputs over all calibration tokens: the
  /// Cholesky factor of the moment, which stands for all of them.
  private var samples: [Int: FloatMatrix] = [:]

  init(bench: Bench) throws {
    self.bench = bench
    let moments = InputMoments(bench.model, detail: .full)
    let session = Session(bench.model, context: bench.context, capacity: 512)
    session.observer = { index, input, count in moments.observe(index, input, count) }
    for window in bench.calibration.windows {
      session.reset()
      _ = try session.forward(window, lastOnly: true)
    }
    for (index, description) in bench.model.operators.enumerated()
    where description.role == .linear {
      let source = bench.model.inputSource(of: index)
      if samples[source] == nil, let moment = moments.meanProducts(of: source) {
        samples[source] = Self.factor(moment)
      }
      samples[index] = samples[source]
    }
  }

  /// `√n · Lᵀ` of `H + tiny · I = L · Lᵀ`, `[n, n]`.
  private static func factor(_ moment: FloatMatrix) -> FloatMatrix {
    let n = moment.rows
    var l = moment.values.map { Double($0) }
    let damping = 1e-6 * (0..<n).reduce(0.0) { $0 + l[$1 * n + $1] } / Double(n)
    for i in 0..<n {
      for j in 0...i {
        var sum = l[i * n + j] + (i == j ? damping : 0)
        for k in 0..<j { sum -= l[i * n + k] * l[j * n + k] }
        l[i * n + j] = i == j ? max(sum, 1e-12).squareRoot() : sum / l[j * n + j]
      }
    }
    let scale = Double(n).squareRoot()
    let result = FloatMatrix(rows: n, columns: n)
    for i in 0..<n { for j in 0...i { result[j, i] = Float(scale * l[i * n + j]) } }
    return result
  }

  private func inputs(_ index: Int) -> FloatMatrix {
    samples[index] ?? bench.statistics[index].samples
  }

  private struct Point {
    var bytes: Double
    var loss: Double
  }

  func run(_ formats: [WeightFormat]) throws -> [Record] {
    var records: [Record] = []
    let line = plainLine()
    Table.line(
      ["linear operators", "bits/weight", "loss", "plain at same bytes", "ratio"],
      widths: [34, 12, 10, 20, 8])
    for format in formats {
      var variants: [(String, (Int) -> Point)] = [
        ("\(format)", { plain($0, format) })
      ]
      for rank in [4, 8, 16, 32] {
        variants.append(("\(format) + rank \(rank)", { lowRank($0, format, rank) }))
      }
      for share in [0.0025, 0.005, 0.01] {
        variants.append(
          ("\(format) + \(share * 100) % outliers", { outliers($0, format, share) }))
      }
      for (name, body) in variants {
        let total = bench.model.operators.indices
          .filter { bench.model.operators[$0].role == .linear }
          .map(body).reduce(Point(bytes: 0, loss: 0)) {
            Point(bytes: $0.bytes + $1.bytes, loss: $0.loss + $1.loss)
          }
        let plain = Self.interpolate(line, total.bytes)
        let bits = total.bytes * 8 / Double(weightCount)
        Table.line(
          [
            name, String(format: "%.3f", bits), Table.number(total.loss), Table.number(plain),
            String(format: "%.3f", total.loss / plain),
          ], widths: [34, 12, 10, 20, 8])
        records.append(
          Record(
            metric: "predictedLossNatsPerToken", value: total.loss, unit: "nats/token",
            conditions: ["weights": name, "bitsPerWeight": String(format: "%.4f", bits)],
            reference: ["plainFormatsAtTheSameBytes": plain]))
      }
    }
    return records
  }

  private var weightCount: Int {
    bench.model.operators.filter { $0.role == .linear }.reduce(0) { $0 + $1.shape.weightCount }
  }

  // MARK: Ways to store one operator

  private func quantized(_ weights: FloatMatrix, _ index: Int, _ format: WeightFormat)
    -> FloatMatrix
  {
    let codes = RoundToNearest(pool: bench.context.pool).quantize(
      weights, as: format, meanSquaredInput: bench.statistics[index].input.meanSquares)
    return FloatMatrix(rows: weights.rows, columns: weights.columns, values: codes.dequantized())
  }

  private func loss(_ index: Int, _ restored: FloatMatrix) -> Double {
    let errors = OutputError.meanSquared(
      original: bench.model.floatWeights(of: index), quantized: restored,
      samples: inputs(index), pool: bench.context.pool)
    return zip(bench.gradients.meanSquares[index], errors).reduce(0) {
      $0 + 0.5 * bench.gradients.tokensPerUnit * $1.0 * $1.1
    }
  }

  private func plain(_ index: Int, _ format: WeightFormat) -> Point {
    let restored = quantized(bench.model.floatWeights(of: index), index, format)
    return Point(
      bytes: Double(format.storedBytes(bench.model.operators[index].shape)),
      loss: loss(index, restored))
  }

  /// Codes first, then a branch on what they leave.
  private func lowRank(_ index: Int, _ format: WeightFormat, _ rank: Int) -> Point {
    let weights = bench.model.floatWeights(of: index)
    let restored = quantized(weights, index, format)
    let residual = FloatMatrix(
      rows: weights.rows, columns: weights.columns,
      values: zip(weights.values, restored.values).map { $0 - $1 })
    let branch = LowRankBranch(
      residual: residual, rank: rank, samples: inputs(index),
      importance: bench.gradients.meanSquares[index])
    let sum = FloatMatrix(
      rows: weights.rows, columns: weights.columns,
      values: zip(restored.values, branch.product.values).map { $0 + $1 })
    let shape = bench.model.operators[index].shape
    return Point(
      bytes: Double(format.storedBytes(shape) + branch.storedBytes), loss: loss(index, sum))
  }

  private func outliers(_ index: Int, _ format: WeightFormat, _ share: Double) -> Point {
    let weights = bench.model.floatWeights(of: index)
    let outliers = SparseOutliers(
      of: weights, share: share, groupSize: format.groupSize,
      meanSquaredInput: bench.statistics[index].input.meanSquares)
    let restored = quantized(
      outliers.removed(from: weights, groupSize: format.groupSize), index, format)
    outliers.restore(in: restored)
    return Point(
      bytes: Double(
        format.storedBytes(bench.model.operators[index].shape) + outliers.storedBytes),
      loss: loss(index, restored))
  }

  // MARK: Plain formats

  /// Loss against bytes of all linear operators in one format, the best formats only.
  private func plainLine() -> [Point] {
    let points = WeightFormat.all.filter { $0.bitWidth <= 6 }.map { format in
      bench.model.operators.indices.filter { bench.model.operators[$0].role == .linear }
        .map { plain($0, format) }
        .reduce(Point(bytes: 0, loss: 0)) {
          Point(bytes: $0.bytes + $1.bytes, loss: $0.loss + $1.loss)
        }
    }
    return points.filter { point in
      !points.contains { $0.bytes < point.bytes && $0.loss <= point.loss }
    }.sorted { $0.bytes < $1.bytes }
  }

  private static func interpolate(_ line: [Point], _ bytes: Double) -> Double {
    guard let next = line.firstIndex(where: { $0.bytes >= bytes }), next > 0 else {
      return bytes <= (line.first?.bytes ?? 0) ? line.first?.loss ?? 0 : line.last?.loss ?? 0
    }
    let (a, b) = (line[next - 1], line[next])
    let share = (bytes - a.bytes) / (b.bytes - a.bytes)
    return exp(log(a.loss) * (1 - share) + log(b.loss) * share)
  }
}
