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
  ///   - formats: formats to time; `WeightFormat.candidates` by default.
  ///   - branches: side branches to time; those of earlier runs stay in the profile.
  ///   - output: file to keep the profile in; `$BITPLAN_HOME/Profiles/NAME.json` by default.
  ///   - refresh: measure again what is already there.
  public func profile(
    for source: ModelSource, formats: [WeightFormat]? = nil, branches: [SideBranch] = [],
    output: String? = nil, refresh: Bool = false
  ) throws(PipelineError) -> ProfileStore.Stored {
    do {
      let formats = try CandidateFormats.chosen(formats, for: source.model)
      let operators = source.model.operators
      return try makeProfile(operators, source.model, formats, branches, output, refresh)
    } catch {
      throw PipelineError(wrapping: error)
    }
  }

  /// The profile of this machine with the shapes of a model whose weights are not here. What norms
  /// and attention add is left out: it takes a model to run.
  ///
  /// - Parameters:
  ///   - configuration: the model's `config.json`, or the folder that holds it.
  public func profile(
    forConfiguration configuration: String, formats: [WeightFormat]? = nil,
    branches: [SideBranch] = [], output: String? = nil, refresh: Bool = false
  ) throws(PipelineError) -> ProfileStore.Stored {
    do {
      var isFolder: ObjCBool = false
      let exists = FileManager.default.fileExists(atPath: configuration, isDirectory: &isFolder)
      guard exists else {
        throw PipelineError(.missingInput, "There is no file or folder '\(configuration)'.")
      }
      let path = isFolder.boolValue ? configuration + "/config.json" : configuration
      let operators = try ModelShapes(configuration: path).operators
      let formats = try CandidateFormats.chosen(formats, for: operators)
      return try makeProfile(operators, nil, formats, branches, output, refresh)
    } catch {
      throw PipelineError(wrapping: error)
    }
  }

  /// The profile of this machine with square shapes that tell what it can do, for no model in
  /// particular.
  public func profile(
    formats: [WeightFormat]? = nil, branches: [SideBranch] = [], output: String? = nil,
    refresh: Bool = false
  ) throws(PipelineError) -> ProfileStore.Stored {
    do {
      return try makeProfile(
        nil, nil, formats ?? WeightFormat.candidates, branches, output, refresh)
    } catch {
      throw PipelineError(wrapping: error)
    }
  }

  /// Shapes that are timed where no model says which are needed.
  private static let generalShapes = [512, 1024, 2048].map {
    MatrixShape(outputFeatures: $0, inputFeatures: $0)
  }

  private func makeProfile(
    _ operators: [OperatorDescription]?, _ model: Model?, _ formats: [WeightFormat],
    _ branches: [SideBranch], _ output: String?, _ refresh: Bool
  ) throws -> ProfileStore.Stored {
    let key = CPUIdentity.key(context)
    let name = CPUIdentity.profileName(key)
    let file = output.map { URL(filePath: $0) } ?? Self.ownProfile(key, home)
    var existing: DeviceProfile?
    if !refresh, FileManager.default.fileExists(atPath: file.path) {
      let stored = try ProfileStore.read(file)
      if output == nil, stored.profile.key.kernelBuild != key.kernelBuild {
        // Our own file, from before an update: nobody asked for those kernels' times.
        progress.note(
          "profile: measuring again, since \(file.lastPathComponent) is of older kernels")
      } else {
        try ProfileStore.requireMatch(stored, key: key)
        existing = stored.profile
        if Self.isComplete(stored.profile, operators, model, formats, branches) {
          progress.note("profile: reusing \(file.path)")
          return stored
        }
      }
    }
    let base =
      existing
      ?? DeviceProfile(
        name: name, simulated: false, key: key, peaks: measuredPeaks(), workingSetBytes: 0,
        measurements: [], corrections: [])
    var profile = try timed(base, operators, formats)
    profile = try timed(profile, operators, branches)
    if let model {
      profile = try WholeModelCorrection(workbench: self, model: model).added(to: profile)
    }
    return try ProfileStore.write(profile, to: file)
  }

  private func measuredPeaks() -> DeviceProfile.Peaks {
    let watch = Stopwatch()
    return MachinePeaks.measure(pool: context.pool) { watch.seconds }
  }

  /// Every case that `operators` need, or a few general ones.
  static func cases(
    _ operators: [OperatorDescription]?, _ formats: [WeightFormat]
  ) -> Set<CPUProfiler.Case> {
    let shapes = operators.map { $0.filter(\.isMultiplied).map(\.shape) } ?? generalShapes
    var cases: Set<CPUProfiler.Case> = []
    for shape in Set(shapes) {
      for format in formats {
        for batch in [1, PlanProblem.prefillTokens] {
          cases.insert(.init(format: format, shape: shape, batch: batch))
        }
      }
    }
    return cases
  }

  private static func isComplete(
    _ profile: DeviceProfile, _ operators: [OperatorDescription]?, _ model: Model?,
    _ formats: [WeightFormat], _ branches: [SideBranch]
  ) -> Bool {
    guard missing(profile, operators, formats).isEmpty,
      missing(profile, operators, branches).isEmpty
    else { return false }
    guard let model else { return true }
    return [1, PlanProblem.prefillTokens].allSatisfy {
      profile.correction(model.architectureSHA256, batch: $0)?
        .coversOnlineTransforms(of: model) == true
    }
  }

  /// Cases that the profile lacks.
  private static func missing(
    _ profile: DeviceProfile, _ operators: [OperatorDescription]?, _ formats: [WeightFormat]
  ) -> Set<CPUProfiler.Case> {
    cases(operators, formats).subtracting(
      profile.measurements.map {
        CPUProfiler.Case(format: $0.format, shape: $0.shape, batch: $0.batch)
      })
  }

  /// Adds the operator times that are missing.
  private func timed(
    _ profile: DeviceProfile, _ operators: [OperatorDescription]?, _ formats: [WeightFormat]
  ) throws -> DeviceProfile {
    var profile = profile
    let missing = Array(Self.missing(profile, operators, formats))
    guard !missing.isEmpty else { return profile }
    let workingSet = operators.map(Self.workingSetBytes) ?? 64 << 20
    progress.begin("profile", total: missing.count)
    let lookup = CPUProfiler.LookupChoice(context: context)
    if profile.usesLookup == nil {
      profile.usesLookup = try lookup.isFaster(for: missing, workingSetBytes: workingSet) {
        try cancellation.check()
      }
    }
    let chosen = lookup.context(usesLookup: profile.usesLookup == true)
    let profiler = CPUProfiler(context: chosen, meter: EnergyMeter())
    let measured = try profiler.measure(missing, workingSetBytes: workingSet) { done, total in
      try cancellation.check()
      progress.advance(done, of: total)
    }
    progress.end("\(missing.count) timings of \(Set(missing.map(\.shape)).count) shapes")
    profile.workingSetBytes = workingSet
    profile.measurements = (profile.measurements + measured).sorted(by: Self.precedes)
    return profile
  }

  /// Packed bytes to read through while operators are timed: as large as the packed weights of a 4-bit
  /// plan, what a pass reads between two uses of a tile.
  static func workingSetBytes(_ operators: [OperatorDescription]) -> Int {
    operators.filter(\.isMultiplied).reduce(0) { $0 + $1.shape.weightCount / 2 }
  }

  /// The side branches that the profile lacks, by shape.
  private static func missing(
    _ profile: DeviceProfile, _ operators: [OperatorDescription]?, _ branches: [SideBranch]
  ) -> [MatrixShape: [SideBranch]] {
    let shapes = Set(operators.map { $0.filter(\.isMultiplied).map(\.shape) } ?? generalShapes)
    var result: [MatrixShape: [SideBranch]] = [:]
    for shape in shapes {
      let lacking = Set(branches).sorted().filter { branch in
        branch.fits(shape)
          && ![1, PlanProblem.prefillTokens].allSatisfy {
            profile.measurement(branch, shape, batch: $0) != nil
          }
      }
      if !lacking.isEmpty { result[shape] = lacking }
    }
    return result
  }

  /// Adds the times of side branches that are missing.
  private func timed(
    _ profile: DeviceProfile, _ operators: [OperatorDescription]?, _ branches: [SideBranch]
  ) throws -> DeviceProfile {
    let missing = Self.missing(profile, operators, branches).sorted {
      ($0.key.outputFeatures, $0.key.inputFeatures) < ($1.key.outputFeatures, $1.key.inputFeatures)
    }
    guard !missing.isEmpty else { return profile }
    var profile = profile
    progress.begin("side branches", total: missing.count)
    let profiler = CPUProfiler(context: context, meter: EnergyMeter())
    for (index, (shape, lacking)) in missing.enumerated() {
      progress.advance(index, of: missing.count)
      let measured = try profiler.measure(
        lacking, of: shape, batches: [1, PlanProblem.prefillTokens]
      ) { _, _ in try cancellation.check() }
      let others = (profile.branches ?? []).filter {
        $0.shape != shape || !lacking.contains($0.branch)
      }
      profile.branches = others + measured
    }
    progress.end(
      "\(missing.reduce(0) { $0 + $1.value.count }) side branches at \(missing.count) shapes")
    return profile
  }

  private static func precedes(
    _ a: DeviceProfile.Measurement, _ b: DeviceProfile.Measurement
  ) -> Bool {
    let left = (a.shape.outputFeatures, a.shape.inputFeatures, a.batch)
    let right = (b.shape.outputFeatures, b.shape.inputFeatures, b.batch)
    return left == right ? a.format < b.format : left < right
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
