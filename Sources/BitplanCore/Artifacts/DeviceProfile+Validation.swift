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

    struct Subject: Hashable {
      let format: WeightFormat
      let shape: MatrixShape
      let batch: Int
    }
    for (index, measurement) in measurements.enumerated() {
      let path = "measurements[\(index)]"
      try check.shape(
        outputFeatures: measurement.shape.outputFeatures,
        inputFeatures: measurement.shape.inputFeatures, "\(path).shape")
      try check.count(measurement.batch, in: 1...MatrixShape.largestSize, "\(path).batch")
      try check.positive(measurement.seconds, "\(path).seconds")
      try check.amount(measurement.spreadSeconds, "\(path).spreadSeconds")
      try check.count(measurement.repeats, in: 1...Int.max, "\(path).repeats")
      try check.amount(measurement.joules, "\(path).joules")
    }
    try check.unique(
      measurements.map { Subject(format: $0.format, shape: $0.shape, batch: $0.batch) },
      "measurements"
    ) { "\($0.format) of \($0.shape) at batch \($0.batch)" }

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
