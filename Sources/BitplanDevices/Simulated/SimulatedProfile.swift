public import BitplanCore

extension SimulatedDevice {
  /// The version of the simulator; part of a profile's key, changes when times do.
  public static let simulatorBuild = "simulator-1"

  /// Seconds and joules of `format` at `shape` for `tokens` at once.
  ///
  /// - Parameter workingSetBytes: bytes of weights that a pass goes through; CPUs read them from the
  ///   level that holds them. Accelerators always read from DRAM.
  public func cost(
    _ format: WeightFormat, _ shape: MatrixShape, tokens: Int, workingSetBytes: Int
  ) -> Cost {
    if let systolicArray {
      return SystolicModel(systolicArray).cost(format, shape, tokens: tokens)
    }
    guard let cpu else { preconditionFailure("validate() was called") }
    return cpu.cost(format, shape, tokens: tokens, workingSetBytes: workingSetBytes)
  }

  /// A device profile as if the device had been measured. The device must be valid.
  ///
  /// Whole-model corrections are absent: norms, attention and hand-over between operators are not
  /// simulated.
  ///
  /// - Parameters:
  ///   - branches: side branches, each simulated for every shape that it fits.
  ///   - batches: tokens at once, each simulated for every format and shape.
  ///   - workingSetBytes: see ``cost(_:_:tokens:workingSetBytes:)``.
  ///   - progress: called with (done, expected) and may throw to cancel.
  public func profile(
    shapes: [MatrixShape], formats: [WeightFormat], branches: [SideBranch] = [], batches: [Int],
    workingSetBytes: Int,
    progress: (Int, Int) throws -> Void = { _, _ in }
  ) rethrows -> DeviceProfile {
    let shapes = Set(shapes).sorted {
      ($0.outputFeatures, $0.inputFeatures) < ($1.outputFeatures, $1.inputFeatures)
    }
    let expected = shapes.count * formats.count * batches.count
    var measurements: [DeviceProfile.Measurement] = []
    for shape in shapes {
      for batch in batches.sorted() {
        for format in Set(formats).sorted() {
          try progress(measurements.count, expected)
          let cost = cost(format, shape, tokens: batch, workingSetBytes: workingSetBytes)
          measurements.append(
            DeviceProfile.Measurement(
              format: format, shape: shape, batch: batch, seconds: cost.seconds, spreadSeconds: 0,
              repeats: 1, joules: cost.joules))
        }
      }
    }
    var profile = DeviceProfile(
      name: "sim-\(name)", simulated: true,
      key: DeviceProfile.Key(
        cpuModel: summary, instructionSet: "simulated", threadCount: cpu?.threads ?? 1,
        kernelBuild: Self.simulatorBuild),
      peaks: peaks, workingSetBytes: workingSetBytes, measurements: measurements, corrections: [])
    if !branches.isEmpty {
      profile.branches = shapes.flatMap { shape in
        batches.sorted().flatMap { batch in
          Set(branches).sorted().filter { $0.fits(shape) }.map { branch in
            let cost = cost(branch, shape, tokens: batch, workingSetBytes: workingSetBytes)
            return DeviceProfile.BranchMeasurement(
              branch: branch, shape: shape, batch: batch, seconds: cost.seconds, spreadSeconds: 0,
              repeats: 1, joules: cost.joules)
          }
        }
      }
    }
    return profile
  }

  /// What a side branch adds: its factors one after the other, or as many float weights as outliers
  /// take the bytes of.
  private func cost(
    _ branch: SideBranch, _ shape: MatrixShape, tokens: Int, workingSetBytes: Int
  ) -> Cost {
    let products: [(WeightFormat, MatrixShape)]
    switch branch {
    case .lowRank(let rank):
      let factors = SideBranch.factors(shape, rank: rank)
      products = [factors.right, factors.left].map { ($0.format, $0.shape) }
    case .outliers:
      let perRow = branch.storedBytes(shape) / 2 / shape.outputFeatures
      products = [
        (
          .f16,
          MatrixShape(
            outputFeatures: shape.outputFeatures, inputFeatures: max(1, perRow))
        )
      ]
    }
    let costs = products.map {
      cost($0.0, $0.1, tokens: tokens, workingSetBytes: workingSetBytes)
    }
    let joules = costs.compactMap(\.joules)
    return Cost(
      seconds: costs.reduce(0) { $0 + $1.seconds },
      joules: joules.count == costs.count ? joules.reduce(0, +) : nil)
  }

  /// The device's ceilings.
  public var peaks: DeviceProfile.Peaks {
    if let cpu {
      let memory = cpu.levels[cpu.levels.count - 1]
      let cycles = Double(cpu.threads) * cpu.clockHertz
      return DeviceProfile.Peaks(
        readBytesPerSecond: memory.readBytesPerSecond,
        readBytesPerSecondOneThread: memory.readBytesPerSecondOneThread,
        int8MultiplyAddsPerSecond: cycles * cpu.int8MultiplyAddsPerCycle,
        float32MultiplyAddsPerSecond: cycles * cpu.float32MultiplyAddsPerCycle)
    }
    guard let array = systolicArray else { preconditionFailure("validate() was called") }
    let bandwidth = Double(array.memoryBitsPerCycle) / 8 * array.clockHertz
    func rate(_ weightBits: Int, _ activationBits: Int) -> Double {
      let tile = SystolicTile(
        array,
        SystolicProduct(
          outputFeatures: 1, inputFeatures: 1, tokens: 1, weightBits: weightBits,
          activationBits: activationBits, groupSize: 1, scaleBits: 0))
      return Double(tile.rows * tile.columns) / Double(tile.passes) * array.clockHertz
    }
    return DeviceProfile.Peaks(
      readBytesPerSecond: bandwidth, readBytesPerSecondOneThread: bandwidth,
      int8MultiplyAddsPerSecond: rate(8, max(8, array.activationBits)),
      float32MultiplyAddsPerSecond: rate(
        array.weightBits < 16 ? 12 : 16, array.activationBits < 16 ? 12 : 16))
  }
}
