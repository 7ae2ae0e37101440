extension DeviceProfile {
  /// Checks that every number is in range and that nothing is measured twice.
  ///
  /// - Throws: ``ArtifactError`` for the first thing that is wrong.
  public func validate() throws(ArtifactError) {
    let check = ArtifactChecks(.deviceProfile)
    try ArtifactHeader(schemaVersion: schemaVersion).validate(.deviceProfile)
    try check.text(name, "name")
    try check.text(key.cpuModel, "key.cpuModel")
    try check.text(key.instructionSet, "key.instructionSet")
    try check.text(key.kernelBuild, "key.kernelBuild")
    try check.count(key.threadCount, in: 1...65_536, "key.threadCount")
    try check.positive(peaks.readBytesPerSecond, "peaks.readBytesPerSecond")
    try check.positive(peaks.readBytesPerSecondOneThread, "peaks.readBytesPerSecondOneThread")
    try check.positive(peaks.int8MultiplyAddsPerSecond, "peaks.int8MultiplyAddsPerSecond")
    try check.positive(peaks.float32MultiplyAddsPerSecond, "peaks.float32MultiplyAddsPerSecond")
    try check.count(workingSetBytes, in: 0...Int.max, "workingSetBytes")

    struct Subject<Weights: Hashable>: Hashable {
      let weights: Weights
      let shape: MatrixShape
      let batch: Int
      var text: String { "\(weights) of \(shape) at batch \(batch)" }
    }
    for (index, measurement) in measurements.enumerated() {
      try measurement.validate(check, "measurements[\(index)]")
    }
    try check.unique(
      measurements.map { Subject(weights: $0.format, shape: $0.shape, batch: $0.batch) },
      "measurements", describe: \.text)
    let branches = branches ?? []
    for (index, branch) in branches.enumerated() {
      try branch.validate(check, "branches[\(index)]")
    }
    try check.unique(
      branches.map { Subject(weights: $0.branch, shape: $0.shape, batch: $0.batch) }, "branches",
      describe: \.text)

    struct Model: Hashable {
      let architecture: String
      let batch: Int
    }
    for (index, correction) in corrections.enumerated() {
      let path = "corrections[\(index)]"
      try check.text(correction.architectureSHA256, "\(path).architectureSHA256")
      try check.count(correction.batch, in: 1...MatrixShape.largestSize, "\(path).batch")
      try check.positive(correction.factor, "\(path).factor")
      try check.amount(correction.fixedSeconds, "\(path).fixedSeconds")
      try check.amount(correction.secondsPerExtraSegment, "\(path).secondsPerExtraSegment")
      try check.positive(
        correction.sixteenBitActivationFactor, "\(path).sixteenBitActivationFactor")
      try check.amount(correction.inputRotationSeconds, "\(path).inputRotationSeconds")
      try check.amount(correction.inputKroneckerSeconds, "\(path).inputKroneckerSeconds")
    }
    try check.unique(
      corrections.map { Model(architecture: $0.architectureSHA256, batch: $0.batch) }, "corrections"
    ) { "architecture \($0.architecture) at batch \($0.batch)" }
  }
}

/// What timings of formats and of side branches have in common.
private protocol Timing {
  var shape: MatrixShape { get }
  var batch: Int { get }
  var seconds: Double { get }
  var spreadSeconds: Double { get }
  var repeats: Int { get }
  var joules: Double? { get }
}

extension DeviceProfile.Measurement: Timing {}
extension DeviceProfile.BranchMeasurement: Timing {}

extension Timing {
  fileprivate func validate(_ check: ArtifactChecks, _ path: String) throws(ArtifactError) {
    try check.shape(
      outputFeatures: shape.outputFeatures, inputFeatures: shape.inputFeatures, "\(path).shape")
    try check.count(batch, in: 1...MatrixShape.largestSize, "\(path).batch")
    try check.positive(seconds, "\(path).seconds")
    try check.amount(spreadSeconds, "\(path).spreadSeconds")
    try check.count(repeats, in: 1...Int.max, "\(path).repeats")
    try check.amount(joules, "\(path).joules")
  }
}
