internal import BitplanCore
internal import BitplanEngine
internal import BitplanKernels
internal import BitplanSensitivity
internal import Foundation

/// Executing plans while searching: on calibration text that was not measured on, never on the text
/// that results are reported on.
extension Workbench {
  /// What executes plans of `source`, or `nil` where there is no text to do so: then a note says why.
  ///
  /// - Parameters:
  ///   - calibration: the text, as for `plan measure`; the default is the text measured on.
  ///   - name: name of the text that the sensitivity was measured on.
  ///   - quantizer: how codes are found, as the sensitivity says.
  ///   - transforms: what the float model goes through first, as the sensitivity says.
  ///   - cache: how executed plans keep keys and values.
  func planExecutor(
    _ source: ModelSource, calibration: String?, measuredOn name: String, quantizer: String,
    transforms: [EquivalenceTransform]?, cache: KeyValueFormat = .float
  ) throws -> PlanExecutor? {
    let path =
      calibration
      ?? (name == SelfCalibration.name ? SelfCalibration.name : nil)
    let windows: TokenWindows
    do { windows = try checkWindows(source, path) } catch let error as PipelineError {
      guard error.kind == .missingInput || error.kind == .invalidInput, calibration == nil else {
        throw error
      }
      progress.note(
        "check: left out, so nothing was executed. \(error.description)")
      return nil
    }
    let source = try transformed(source, transforms) { try calibrationWindows(source, path) }
    let statistics = try calibrationStatistics(source, try Self.quantizer(named: quantizer), path)
    FreedMemory.giveBack()
    let meter = LossMeter(model: source.model, windows: windows.windows, context: context)
    progress.begin("reference", total: windows.windows.count)
    try meter.makeReference { done, total in
      try cancellation.check()
      progress.advance(done, of: total)
    }
    progress.end("\(windows.tokens.count) tokens besides those measured on")
    meter.keyValueFormat = cache
    var last: (operators: [Plan.Assignment], packed: [PackedOperator])?
    return PlanExecutor(text: windows.calibration) { plan, width in
      var packed: [PackedOperator]
      if let last, zip(last.operators, plan.operators).allSatisfy({ $0.isStored(as: $1) }) {
        packed = last.packed
      } else {
        // Neither the plan before nor the buffers that hold it are needed any more.
        last = nil
        meter.releaseBuffers()
        packed = try quantized(source, plan, statistics)
        last = (plan.operators, packed)
      }
      for (index, assignment) in plan.operators.enumerated() {
        packed[index].activations = assignment.activations
      }
      progress.begin("check", total: 1)
      try cancellation.check()
      let model =
        width.map { Self.onlyWidth($0, plan, packed, source.model) }
        ?? source.model.replacingAll(with: packed)
      let report = try meter.report(model)
      progress.end(
        "\(Figures.significant(report.mean)) measured"
          + (width.map { ", \($0)-bit rows alone" } ?? ""))
      return PlanExecutor.Loss(mean: max(0, report.mean), standardError: report.standardError)
    }
  }

  /// Windows of the calibration text besides those that are measured on.
  private func checkWindows(_ source: ModelSource, _ path: String?) throws -> TokenWindows {
    let count = Self.calibrationCount
    if path == SelfCalibration.name {
      return try selfCalibration(source, windows: count..<2 * count)
    }
    let text = try TextSource(
      path: path, defaultName: "calibration.txt", folder: source.folder, option: "--calibration")
    // Sentences are short: as many as measured on would tell a loss to no better than a tenth.
    let isEncoder = source.model.objective == .sentenceEmbedding
    return try windows(
      source, text, count: isEncoder ? 4 * count : count,
      placement: .besides(measured: count, wide: Self.wideCalibrationCount))
  }

  /// The float model with the rows of one bit width as the plan has them.
  private static func onlyWidth(
    _ width: Int, _ plan: Plan, _ packed: [PackedOperator], _ model: Model
  ) -> Model {
    var result = model
    for (index, assignment) in plan.operators.enumerated() {
      let rows = assignment.segments.filter { $0.format.bitWidth == width }.flatMap(\.rows)
      guard !rows.isEmpty else { continue }
      let (original, coded) = (model.floatWeights(of: index), packed[index])
      result = result.replacing(
        index,
        with: .deferred(model.operators[index].shape) {
          mixed(original, coded, rows: Array(rows.joined()))
        })
    }
    return result
  }

  /// Float weights with some rows as they are packed.
  private static func mixed(
    _ original: FloatMatrix, _ packed: PackedOperator, rows: [Int]
  ) -> FloatMatrix {
    let result = FloatMatrix(rows: original.rows, columns: original.columns)
    result.withUnsafeMutableBufferPointer { result in
      original.withUnsafeBufferPointer { _ = result.update(fromContentsOf: $0) }
    }
    packed.restore(rows, in: result)
    return result
  }
}
