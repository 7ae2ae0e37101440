public import BitplanCore
internal import BitplanDevices
internal import BitplanEngine
internal import BitplanKernels
internal import BitplanQuantizers
internal import Foundation

/// `plan profile`: what this machine costs for every (format, shape, batch) of a model.
extension Workbench {
  /// The profile of this machine with everything that `source` needs in it.
  ///
  /// A profile that exists and was made by this CPU, thread count, instruction set and kernel build
  /// is reused; what it lacks is measured and added.
  ///
  /// - Parameters:
  ///   - formats: formats to time; all by default.
  ///   - output: file to keep the profile in; `$BITPLAN_HOME/Profiles/NAME.json` by default.
  ///   - refresh: measure again what is already there.
  public func profile(
    for source: ModelSource, formats: [WeightFormat]? = nil, output: String? = nil,
    refresh: Bool = false
  ) throws(PipelineError) -> ProfileStore.Stored {
    do {
      return try makeProfile(source, formats ?? WeightFormat.all, output, refresh)
    } catch {
      throw PipelineError(wrapping: error)
    }
  }

  private func makeProfile(
    _ source: ModelSource, _ formats: [WeightFormat], _ output: String?, _ refresh: Bool
  ) throws -> ProfileStore.Stored {
    let key = CPUIdentity.key(context)
    let name = CPUIdentity.profileName(key)
    let file = output.map { URL(filePath: $0) } ?? profilesFolder.appending(path: "\(name).json")
    var existing: DeviceProfile?
    if !refresh, FileManager.default.fileExists(atPath: file.path) {
      let stored = try ProfileStore.read(file)
      try ProfileStore.requireMatch(stored, key: key)
      existing = stored.profile
      if Self.isComplete(stored.profile, for: source.model, formats: formats) {
        progress.note("profile: reusing \(file.path)")
        return stored
      }
    }
    let base =
      existing
      ?? DeviceProfile(
        name: name, simulated: false, key: key, peaks: measuredPeaks(), workingSetBytes: 0,
        measurements: [], corrections: [])
    var profile = try timed(base, source.model, formats)
    profile = try corrected(profile, source.model)
    return try ProfileStore.write(profile, to: file)
  }

  private func measuredPeaks() -> DeviceProfile.Peaks {
    let watch = Stopwatch()
    return MachinePeaks.measure(pool: context.pool) { watch.seconds }
  }

  /// Every case that `model` needs.
  static func cases(_ model: Model, _ formats: [WeightFormat]) -> Set<CPUProfiler.Case> {
    var cases: Set<CPUProfiler.Case> = []
    for description in model.operators where description.isMultiplied {
      for format in formats {
        for batch in [1, PlanProblem.prefillTokens] {
          cases.insert(.init(format: format, shape: description.shape, batch: batch))
        }
      }
    }
    return cases
  }

  private static func isComplete(
    _ profile: DeviceProfile, for model: Model, formats: [WeightFormat]
  ) -> Bool {
    let known = Set(
      profile.measurements.map {
        CPUProfiler.Case(format: $0.format, shape: $0.shape, batch: $0.batch)
      })
    return cases(model, formats).isSubset(of: known)
      && [1, PlanProblem.prefillTokens].allSatisfy {
        profile.correction(model.architectureSHA256, batch: $0) != nil
      }
  }

  /// Adds the operator times that are missing.
  private func timed(
    _ profile: DeviceProfile, _ model: Model, _ formats: [WeightFormat]
  ) throws -> DeviceProfile {
    var profile = profile
    let known = Set(
      profile.measurements.map {
        CPUProfiler.Case(format: $0.format, shape: $0.shape, batch: $0.batch)
      })
    let missing = Array(Self.cases(model, formats).subtracting(known))
    guard !missing.isEmpty else { return profile }
    // As large as the packed weights of a 4-bit plan: what a pass reads between two uses of a tile.
    let workingSet = model.operators.filter(\.isMultiplied).reduce(0) {
      $0 + $1.shape.weightCount / 2
    }
    progress.begin("profile", total: missing.count)
    let measured = try CPUProfiler(context: context).measure(missing, workingSetBytes: workingSet) {
      done, total in
      try cancellation.check()
      progress.advance(done, of: total)
    }
    progress.end("\(missing.count) timings of \(Set(missing.map(\.shape)).count) shapes")
    profile.workingSetBytes = workingSet
    profile.measurements = (profile.measurements + measured).sorted(by: Self.precedes)
    return profile
  }

  private static func precedes(
    _ a: DeviceProfile.Measurement, _ b: DeviceProfile.Measurement
  ) -> Bool {
    let left = (a.shape.outputFeatures, a.shape.inputFeatures, a.batch)
    let right = (b.shape.outputFeatures, b.shape.inputFeatures, b.batch)
    return left == right ? a.format < b.format : left < right
  }

  /// Runs the whole model in a few uniform formats and stores what the operators do not explain.
  private func corrected(_ profile: DeviceProfile, _ model: Model) throws -> DeviceProfile {
    var profile = profile
    let available = Set(profile.measurements.map(\.format))
    let probes = ["int3_g64", "int4_g128", "int6_g64", "int8_g128s"].compactMap(WeightFormat.init)
      .filter(available.contains)
    let formats = probes.isEmpty ? Array(available.sorted().prefix(2)) : probes
    progress.begin("whole model", total: formats.count)
    let quantizer = RoundToNearest(pool: context.pool)
    var points: [Int: [(sum: Double, whole: Double)]] = [:]
    for (index, format) in formats.enumerated() {
      try cancellation.check()
      progress.advance(index, of: formats.count)
      var packed = model
      for (position, _) in model.operators.enumerated() {
        let codes = quantizer.quantize(model.floatWeights(of: position), as: format)
        packed = packed.replacing(
          position, with: .packed(PackedOperator(PackedMatrix(packing: codes))))
      }
      let times = try WholeModelTimer(context: context, cancellation: cancellation).measure(packed)
      for (batch, whole) in times {
        let sum = try operatorSum(profile, model, format, batch)
        points[batch, default: []].append((sum, whole))
      }
    }
    var corrections = profile.corrections.filter {
      $0.architectureSHA256 != model.architectureSHA256
    }
    for (batch, samples) in points.sorted(by: { $0.key < $1.key }) {
      let (factor, fixed) = CorrectionFit.fit(samples)
      corrections.append(
        DeviceProfile.Correction(
          architectureSHA256: model.architectureSHA256, batch: batch, factor: factor,
          fixedSeconds: fixed))
    }
    progress.end("corrections for \(points.count) batch sizes")
    profile.corrections = corrections
    return profile
  }

  private func operatorSum(
    _ profile: DeviceProfile, _ model: Model, _ format: WeightFormat, _ batch: Int
  ) throws -> Double {
    try model.operators.reduce(0) { sum, description in
      guard let seconds = profile.seconds(format, description, batch: batch) else {
        throw PipelineError(.internalFailure, "no time for \(format) at \(description.shape)")
      }
      return sum + seconds
    }
  }
}

/// From sums of operator times to whole passes.
enum CorrectionFit {
  /// `whole ≈ factor · sum + fixed` with a non-negative `fixed`.
  ///
  /// With few noisy points a free slope means little, so the slope stays 1 and what is left is
  /// taken as fixed; only where passes are faster than the sum of their operators does the slope
  /// give way.
  static func fit(_ samples: [(sum: Double, whole: Double)]) -> (factor: Double, fixed: Double) {
    let differences = samples.map { $0.whole - $0.sum }.sorted()
    let fixed = differences[differences.count / 2]
    if fixed >= 0 { return (1, fixed) }
    let ratios = samples.map { $0.whole / $0.sum }.sorted()
    return (ratios[ratios.count / 2], 0)
  }
}

/// A profile in a few lines for people.
public enum ProfileSummary {
  /// Where it is, what it holds, and the machine's ceilings.
  public static func text(_ stored: ProfileStore.Stored) -> String {
    let profile = stored.profile
    let shapes = Set(profile.measurements.map(\.shape)).count
    let spread = profile.measurements.map { $0.spreadSeconds / $0.seconds }.sorted()
    return """
      Profile \(profile.name)\(profile.simulated ? " (simulated)" : "")
        CPU              \(profile.key.cpuModel)
        kernels          \(profile.key.instructionSet), \(profile.key.threadCount) threads, build \(profile.key.kernelBuild)
        memory read      \(Figures.significant(profile.peaks.readBytesPerSecond / 1e9)) GB/s (one thread \(Figures.significant(profile.peaks.readBytesPerSecondOneThread / 1e9)) GB/s)
        int8 peak        \(Figures.significant(profile.peaks.int8MultiplyAddsPerSecond / 1e9)) GMAC/s
        float32 peak     \(Figures.significant(profile.peaks.float32MultiplyAddsPerSecond / 1e9)) GMAC/s
        timings          \(profile.measurements.count) of \(shapes) shapes, median spread \(Figures.significant((spread.isEmpty ? 0 : spread[spread.count / 2]) * 100)) %
      Written to \(stored.file.path)
      """
  }
}
