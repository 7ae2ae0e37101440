internal import BitplanCheckpoint
public import BitplanCore
internal import BitplanEngine
internal import BitplanKernels
internal import BitplanQuantizers
internal import BitplanSensitivity
internal import Foundation

/// What packing gave.
public struct PackResult: Codable, Sendable {
  /// The packed file.
  public let file: String
  /// Bytes of all planned operators: equals the plan's prediction.
  public let storedBytes: Int
  /// ``storedBytes`` × 8 ÷ planned weights.
  public let bitsPerWeight: Double
  /// Bytes of the whole file, float vectors and header included.
  public let fileBytes: Int

  /// The figures for people.
  public var summary: String {
    """
    Packed \(Figures.mebibytes(storedBytes)) of weights, \(Figures.significant(bitsPerWeight, digits: 4)) bits per weight; \
    the whole file is \(Figures.mebibytes(fileBytes)).
    Written to \(file)
    """
  }
}

/// `plan pack`: from float weights and a plan to packed weights.
extension Workbench {
  /// Quantizes as `planFile` says and writes a packed checkpoint.
  public func pack(
    _ source: ModelSource, planFile: String, calibration: String?, output: String
  ) throws(PipelineError) -> PackResult {
    do {
      let plan = try Self.readPlan(planFile)
      let source = try transformed(source, plan.transforms) {
        try calibrationWindows(source, calibration)
      }
      let packed = try quantized(source, plan, calibration: calibration)
      progress.begin("write", total: 1)
      try PackedCheckpoint.write(
        path: output, plan: plan, model: source.model, operators: packed,
        tokenizer: try? String(
          contentsOf: source.folder.appending(path: "tokenizer.json"), encoding: .utf8))
      progress.end(URL(filePath: output).lastPathComponent)
      let size = try FileManager.default.attributesOfItem(atPath: output)[.size] as? Int ?? 0
      let stored = plan.operators.reduce(0) { $0 + $1.storedBytes }
      return PackResult(
        file: output, storedBytes: stored,
        bitsPerWeight: BitsPerWeight(
          storedBytes: stored, weightCount: plan.model.plannedWeightCount
        ).value,
        fileBytes: size)
    } catch {
      throw PipelineError(wrapping: error)
    }
  }

  /// Packed operators as the plan says, in the model's order.
  func quantized(
    _ source: ModelSource, _ plan: Plan, calibration: String?
  ) throws -> [PackedOperator] {
    try Self.requireMatch(plan, source)
    let statistics = try calibrationStatistics(source, try Self.quantizer(of: plan), calibration)
    return try quantized(source, plan, statistics)
  }

  /// Packed operators as the plan says, with statistics at hand.
  func quantized(
    _ source: ModelSource, _ plan: Plan, _ statistics: [OperatorStatistics]
  ) throws -> [PackedOperator] {
    let quantizer = OperatorQuantizer(try Self.quantizer(of: plan), pool: context.pool)
    progress.begin("quantize", total: plan.operators.count)
    var result: [PackedOperator] = []
    for (index, assignment) in plan.operators.enumerated() {
      try cancellation.check()
      progress.advance(index, of: plan.operators.count)
      result.append(
        try quantizer.packed(
          source.model.floatWeights(of: index), as: assignment, statistics[index].input))
    }
    progress.end("\(plan.operators.count) operators")
    return result
  }

  /// Statistics of the calibration text, as a sensitivity was measured with.
  func calibrationStatistics(
    _ source: ModelSource, _ quantizer: OperatorQuantizer.Method, _ calibration: String?
  ) throws -> [OperatorStatistics] {
    let windows = try calibrationWindows(source, calibration)
    if let known = kept.find(source.model, text: windows.sha256, quantizer) { return known }
    let meter = LossMeter(model: source.model, windows: windows.windows, context: context)
    return try statistics(
      source, meter, windows, calibration: calibration, quantizer, gradientSeed: nil
    ).operators
  }

  /// How the plan's codes are found.
  static func quantizer(of plan: Plan) throws(PipelineError) -> OperatorQuantizer.Method {
    try quantizer(named: plan.sensitivity.quantizer)
  }

  /// The quantizer that a sensitivity names.
  static func quantizer(
    named provenance: String
  ) throws(PipelineError) -> OperatorQuantizer.Method {
    guard let method = OperatorQuantizer.Method(provenance: provenance) else {
      throw PipelineError(
        .stale,
        "The codes are found by '\(provenance)', which this version does not know. Measure again with "
          + "'plan measure --remeasure' and make the plan again.")
    }
    return method
  }

  /// Reads and checks a plan.
  public static func readPlan(_ path: String) throws(PipelineError) -> Plan {
    guard FileManager.default.fileExists(atPath: path) else {
      throw PipelineError(.missingInput, "There is no plan '\(path)'. Make one with 'plan search'.")
    }
    do {
      let plan = try ArtifactFile.read(
        Plan.self, path: path, supportedSchemaVersion: Plan.supportedSchemaVersion)
      try plan.validate()
      return plan
    } catch let error as ArtifactError {
      throw PipelineError(.invalidInput, "\(URL(filePath: path).lastPathComponent): \(error)")
    } catch {
      throw PipelineError(wrapping: error)
    }
  }

  /// Refuses a plan that was made for other weights.
  static func requireMatch(_ plan: Plan, _ source: ModelSource) throws(PipelineError) {
    guard plan.model.sha256 == source.model.identity.sha256 else {
      throw PipelineError(
        .stale,
        "The plan was made for other weights ('\(plan.model.name)') than '\(source.checkpoint.name)'. "
          + "Make a plan for this checkpoint with 'plan search'.")
    }
    do { try plan.validate(against: source.model.operators) } catch {
      throw PipelineError(.invalidInput, "The plan does not fit the model: \(error)")
    }
  }
}
