import BitplanCore
import BitplanSearch

/// Problems with the sizes and the shape of real ones, made from seeds.
enum SyntheticProblems {
  /// Operators of a Llama with `layers` layers and `width` features: seven a layer, then embedding
  /// and head.
  static func shapes(layers: Int, width: Int) -> [MatrixShape] {
    var shapes: [MatrixShape] = []
    let inner = width * 7 / 2
    for _ in 0..<layers {
      shapes += [
        MatrixShape(outputFeatures: width, inputFeatures: width),
        MatrixShape(outputFeatures: width / 4, inputFeatures: width),
        MatrixShape(outputFeatures: width / 4, inputFeatures: width),
        MatrixShape(outputFeatures: width, inputFeatures: width),
        MatrixShape(outputFeatures: inner, inputFeatures: width),
        MatrixShape(outputFeatures: inner, inputFeatures: width),
        MatrixShape(outputFeatures: width, inputFeatures: inner),
      ]
    }
    shapes += [
      MatrixShape(outputFeatures: width * 31, inputFeatures: width),
      MatrixShape(outputFeatures: width * 31, inputFeatures: width),
    ]
    return shapes
  }

  /// Losses fall fourfold a bit and with finer groups, times noise; stored bytes are exact; decode
  /// time follows bytes and prefill time follows weights, times noise per format.
  ///
  /// - Parameter tightness: where the limits lie between least and most use, for bytes, decode and
  ///   prefill seconds; fewer give fewer limits.
  static func perFormat(
    shapes: [MatrixShape], formats: [WeightFormat], tightness: [Double], seed: UInt64
  ) throws -> AssignmentProblem {
    var generator = SeededGenerator(state: seed)
    let speeds = formats.map { _ in Double.random(in: 0.8...1.3, using: &generator) }
    let names = ["stored bytes", "decode seconds per token", "prefill seconds"]
    let choices = shapes.map { shape in
      let sensitivity =
        1e-7 * Double.random(in: 0.1...1, using: &generator)
        * Double(shape.weightCount).squareRoot() * Double.random(in: 0.2...5, using: &generator)
      return zip(formats, speeds).map { format, speed in
        let bytes = Double(format.storedBytes(shape))
        let bits = Double(format.bitWidth) + (format.groupSize < 64 ? 0.3 : 0)
        var power = 1.0
        for _ in 0..<format.bitWidth { power /= 4 }
        let loss =
          sensitivity * power * (16 + bits) * Double.random(in: 0.8...1.25, using: &generator)
        let decode = bytes / 2e10 * speed * Double.random(in: 0.97...1.03, using: &generator) + 2e-6
        let prefill =
          Double(shape.weightCount) * 128 / 4e11 * (2 - speed)
          * Double.random(in: 0.97...1.03, using: &generator)
        return AssignmentProblem.Choice(
          loss: loss, uses: Array([bytes, decode, prefill].prefix(tightness.count)))
      }
    }
    return try problem(choices, tightness: tightness, names: names)
  }

  /// Operators with `pointCount` points each on a noisy convex frontier, as per-feature assignment
  /// gives them.
  static func frontiers(
    shapes: [MatrixShape], pointCount: Int, tightness: [Double], seed: UInt64
  ) throws -> AssignmentProblem {
    var generator = SeededGenerator(state: seed)
    let names = ["stored bytes", "decode seconds per token", "prefill seconds"]
    let choices = shapes.map { shape in
      let sensitivity =
        1e-7 * Double.random(in: 0.1...1, using: &generator)
        * Double(shape.weightCount).squareRoot() * Double.random(in: 0.2...5, using: &generator)
      return (0..<pointCount).map { point in
        let bits = 2.1 + 6.2 * Double(point) / Double(pointCount - 1)
        var loss = sensitivity
        for _ in 0..<Int(bits * 4) { loss *= 0.7071 }
        loss *= 1 - 0.29 * (bits * 4 - (bits * 4).rounded(.down))
        loss *= Double.random(in: 0.97...1.03, using: &generator)
        let bytes = (Double(shape.weightCount) * bits / 8 / 64).rounded(.up) * 64
        let decode = bytes / 2e10 * Double.random(in: 0.9...1.1, using: &generator) + 2e-6
        let prefill =
          Double(shape.weightCount) * 128 / 4e11
          * Double.random(in: 0.9...1.1, using: &generator)
        return AssignmentProblem.Choice(
          loss: loss, uses: Array([bytes, decode, prefill].prefix(tightness.count)))
      }
    }
    return try problem(choices, tightness: tightness, names: names)
  }

  /// Few operators and choices with small whole numbers, so that sums are exact and ties happen.
  static func small(
    operators: Int, choices: Int, limits: Int, generator: inout SeededGenerator
  ) throws -> AssignmentProblem {
    let all = (0..<operators).map { _ in
      (0..<Int.random(in: 1...choices, using: &generator)).map { _ in
        AssignmentProblem.Choice(
          loss: Double(Int.random(in: 0...60, using: &generator)),
          uses: (0..<limits).map { _ in Double(Int.random(in: 0...40, using: &generator)) })
      }
    }
    let tightness = (0..<limits).map { _ in Double.random(in: -0.2...0.9, using: &generator) }
    let problem = try problem(all, tightness: tightness, names: ["a", "b", "c"])
    return try AssignmentProblem(
      choices: all, limits: problem.limits.map { .init(name: $0.name, value: $0.value.rounded()) })
  }

  /// Unrelated losses and uses with five tight limits: far from anything a model gives, and hard.
  static func hard(operators: Int, seed: UInt64) throws -> AssignmentProblem {
    var generator = SeededGenerator(state: seed)
    let choices = (0..<operators).map { _ in
      (0..<10).map { _ in
        AssignmentProblem.Choice(
          loss: .random(in: 1...2, using: &generator),
          uses: (0..<5).map { _ in .random(in: 1...2, using: &generator) })
      }
    }
    return try problem(
      choices, tightness: [Double](repeating: 0.42, count: 5), names: ["a", "b", "c", "d", "e"])
  }

  private static func problem(
    _ choices: [[AssignmentProblem.Choice]], tightness: [Double], names: [String]
  ) throws -> AssignmentProblem {
    let limits = tightness.indices.map { k in
      let least = choices.reduce(0.0) { $0 + $1.map { $0.uses[k] }.min()! }
      let most = choices.reduce(0.0) { $0 + $1.map { $0.uses[k] }.max()! }
      return AssignmentProblem.Limit(
        name: names[k], value: least + (most - least) * tightness[k])
    }
    return try AssignmentProblem(choices: choices, limits: limits)
  }
}
