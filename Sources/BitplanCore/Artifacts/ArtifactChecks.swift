/// Checks that the three artifacts share. Each throws with the place it was given.
struct ArtifactChecks {
  let artifact: ArtifactError.Artifact

  init(_ artifact: ArtifactError.Artifact) { self.artifact = artifact }

  func fail(_ path: String, _ problem: String) -> ArtifactError {
    ArtifactError(artifact, at: path, problem)
  }

  /// Finite and not negative; `nil` passes.
  func amount(_ value: Double?, _ path: String) throws(ArtifactError) {
    guard let value else { return }
    guard value.isFinite, value >= 0 else {
      throw fail(path, "is \(value), and must be finite and not negative")
    }
  }

  /// Finite and above zero; `nil` passes.
  func positive(_ value: Double?, _ path: String) throws(ArtifactError) {
    guard let value else { return }
    guard value.isFinite, value > 0 else {
      throw fail(path, "is \(value), and must be finite and above zero")
    }
  }

  /// A count in `range`; `nil` passes.
  func count(_ value: Int?, in range: ClosedRange<Int>, _ path: String) throws(ArtifactError) {
    guard let value else { return }
    guard range.contains(value) else {
      throw fail(path, "is \(value), and must lie in \(range.lowerBound)…\(range.upperBound)")
    }
  }

  func text(_ value: String, _ path: String) throws(ArtifactError) {
    if value.isEmpty { throw fail(path, "is empty") }
  }

  /// 64 lower-case hexadecimal digits.
  func sha256(_ value: String, _ path: String) throws(ArtifactError) {
    let isHexadecimal = value.utf8.allSatisfy {
      (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0)
        || (UInt8(ascii: "a")...UInt8(ascii: "f")).contains($0)
    }
    guard value.utf8.count == 64, isHexadecimal else {
      throw fail(path, "is '\(value.prefix(80))', and must be 64 lower-case hexadecimal digits")
    }
  }

  /// No value twice.
  func unique<Value: Hashable>(
    _ values: [Value], _ path: String, describe: (Value) -> String
  ) throws(ArtifactError) {
    var seen: Set<Value> = []
    for (index, value) in values.enumerated() where !seen.insert(value).inserted {
      throw fail("\(path)[\(index)]", "repeats \(describe(value))")
    }
  }

  /// Sizes that keep every later product within range.
  func shape(outputFeatures: Int, inputFeatures: Int, _ path: String) throws(ArtifactError) {
    if let problem = MatrixShape.problem(
      outputFeatures: outputFeatures, inputFeatures: inputFeatures)
    {
      throw fail(path, problem)
    }
  }

  /// The sum, checked; weights and bytes of whole models.
  func total(_ values: [Int], _ path: String) throws(ArtifactError) -> Int {
    var sum = 0
    for value in values {
      let (next, overflow) = sum.addingReportingOverflow(value)
      guard !overflow else { throw fail(path, "adds up to more than \(Int.max)") }
      sum = next
    }
    return sum
  }

  /// Name, hash and size of the model; `weightCount` is what the operators add up to.
  func model(_ model: ModelIdentity, weightCount: Int) throws(ArtifactError) {
    try text(model.name, "model.name")
    try sha256(model.sha256, "model.sha256")
    try text(model.architecture, "model.architecture")
    guard model.plannedWeightCount == weightCount else {
      throw fail(
        "model.plannedWeightCount",
        "is \(model.plannedWeightCount), and the operators have \(weightCount) weights")
    }
  }

  /// The operators of an artifact are those of the model, in its order.
  func operators(
    _ found: [(name: String, shape: MatrixShape)], match expected: [OperatorDescription],
    _ path: String
  ) throws(ArtifactError) {
    for (index, (found, expected)) in zip(found, expected).enumerated() {
      guard found.name == expected.name else {
        throw fail(
          "\(path)[\(index)]", "is '\(found.name)', and the model has '\(expected.name)' there")
      }
      guard found.shape == expected.shape else {
        throw fail(
          "\(path)[\(index)]",
          "('\(found.name)') is \(found.shape), and the model's is \(expected.shape)")
      }
    }
    guard found.count == expected.count else {
      throw fail(path, "has \(found.count) operators, and the model has \(expected.count)")
    }
  }
}
