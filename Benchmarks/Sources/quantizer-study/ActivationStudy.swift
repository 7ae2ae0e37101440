import BitplanCore
import BitplanEngine
import BitplanKernels
import BitplanSensitivity
import StudyRecords

/// What activations of 8 bits lose by how their scales are found: as they come, or once for all
/// tokens on the calibration text (SmoothQuant's O3), with and without scaled slots and split
/// channels. Weights stay float, so that the activations' loss stands alone.
///
/// No kernel has static scales or split channels: inputs are rounded in place before each product.
struct ActivationStudy {
  let bench: Bench

  /// How inputs are rounded before a product.
  private enum Rounding {
    /// A scale for every token and so many features.
    case dynamic(groupSize: Int)
    /// One scale an operator, from the largest magnitude on the calibration text.
    case fixed
    /// One scale an operator from a smaller magnitude; channels that exceed it are split into as
    /// many as it takes, up to this share of channels more (FlattenQuant, arXiv:2402.17985).
    case split(share: Double)
  }

  func run() throws -> [Record] {
    var records: [Record] = []
    let reference = try bench.held.reference(of: bench.model, bench.context)
    let transforms = ModelTransforms(context: bench.context) { _ in bench.statistics }
    func smoothed(_ slots: Set<EquivalenceTransform.Slot>) throws -> Model {
      let list = bench.model.scalingSlots.filter { slots.contains($0.slot) }.map {
        EquivalenceTransform.scaling($0.slot, layer: $0.layer, .smoothing(0.5))
      }
      return try transforms.apply(list, to: bench.model)
    }
    let models: [(String, Model)] = [
      ("as trained", bench.model),
      ("norms smoothed", try smoothed([.attentionInput, .mlpInput])),
      ("all slots smoothed", try smoothed([.attentionInput, .mlpInput, .value, .up])),
    ]
    let roundings: [(String, Rounding)] = [
      ("a scale a token and 128 features", .dynamic(groupSize: 128)),
      ("a scale a token", .dynamic(groupSize: .max)), ("static, a scale an operator", .fixed),
      ("static, 2 % more channels", .split(share: 0.02)),
      ("static, 10 % more channels", .split(share: 0.1)),
    ]
    Table.line(["activations", "transforms", "KL", "std. error"], widths: [36, 20, 10, 10])
    for (name, model) in models {
      let maxima = try self.maxima(of: model)
      for (rounding, how) in roundings {
        let session = Session(model, context: bench.context, capacity: bench.held.longestWindow)
        let steps = maxima.map { Self.step(how, $0) }
        session.observer = { index, input, count in
          Self.round(input.values, count, how, step: steps[index])
        }
        let divergence = try bench.held.divergence(session, from: reference).klDivergence
        Table.line(
          [
            rounding, name, Table.number(divergence.mean),
            Table.number(divergence.standardErrorOverWindows),
          ], widths: [36, 20, 10, 10])
        records.append(
          Record(
            metric: "klDivergenceNatsPerToken", value: divergence.mean, unit: "nats/token",
            conditions: ["activations": rounding, "transforms": name],
            reference: ["standardError": divergence.standardErrorOverWindows]))
      }
    }
    return records
  }

  /// The largest magnitude of every input feature of every operator on the calibration text.
  private func maxima(of model: Model) throws -> [[Float]] {
    var result = model.operators.map { [Float](repeating: 0, count: $0.shape.inputFeatures) }
    let session = Session(model, context: bench.context, capacity: 512)
    session.observer = { index, input, count in
      let columns = input.values.columns
      input.values.withUnsafeBufferPointer { x in
        for token in 0..<count {
          for column in 0..<columns {
            result[index][column] = max(result[index][column], abs(x[token * columns + column]))
          }
        }
      }
    }
    for window in bench.calibration.windows {
      session.reset()
      _ = try session.forward(window, lastOnly: false)
    }
    return result
  }

  /// What one code stands for where scales are static; 0 where they are not.
  private static func step(_ how: Rounding, _ maxima: [Float]) -> Float {
    let largest = maxima.max() ?? 0
    switch how {
    case .dynamic: return 0
    case .fixed: return largest / 127
    case .split(let share):
      // The smallest of a hundred magnitudes that does not take too many channels.
      let room = Int(share * Double(maxima.count))
      let bound = (1...100).lazy.map { largest * Float($0) / 100 }.first { bound in
        bound > 0 && maxima.reduce(0) { $0 + max(0, Int(($1 / bound).rounded(.up)) - 1) } <= room
      }
      return (bound ?? largest) / 127
    }
  }

  private static func round(_ values: FloatMatrix, _ count: Int, _ how: Rounding, step: Float) {
    let columns = values.columns
    values.withUnsafeMutableBufferPointer { x in
      for token in 0..<count {
        let row = token * columns
        switch how {
        case .dynamic(let groupSize):
          for begin in stride(from: 0, to: columns, by: min(groupSize, columns)) {
            let group = row + begin..<row + min(columns, begin + min(groupSize, columns))
            let scale = group.reduce(Float(0)) { max($0, abs(x[$1])) } / 127
            guard scale > 0 else { continue }
            for index in group { x[index] = (x[index] / scale).rounded() * scale }
          }
        case .fixed:
          guard step > 0 else { continue }
          for index in row..<row + columns {
            x[index] = min(max((x[index] / step).rounded(), -127), 127) * step
          }
        case .split:
          // All parts but one are at the end of the codes, so the sum is the nearest step.
          guard step > 0 else { continue }
          for index in row..<row + columns { x[index] = (x[index] / step).rounded() * step }
        }
      }
    }
  }
}
