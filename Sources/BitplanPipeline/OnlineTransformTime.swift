internal import BitplanCore
internal import BitplanDevices
internal import BitplanEngine
internal import BitplanKernels

/// What transforms that are done while the model runs add to a pass: a part of no operator's time, so
/// it is measured by itself and added to what a pass takes beside its operators.
extension DeviceProfile.Correction {
  /// The same correction for a model whose `down` inputs are turned as `transforms` say.
  ///
  /// - Throws: ``PipelineError`` where the profile does not say how long that takes.
  func adding(
    _ transforms: [EquivalenceTransform], layersOf operators: [OperatorDescription]
  ) throws(PipelineError) -> DeviceProfile.Correction {
    guard !transforms.isEmpty else { return self }
    guard let inputRotationSeconds else {
      throw PipelineError(
        .invalidInput,
        "The device profile does not say how long rotating inputs at run time takes. Profile this "
          + "machine again with 'plan profile --for MODEL', or leave 'rotate-online' out.")
    }
    let layers = (operators.compactMap(\.layer).max() ?? 0) + 1
    let share = Double(transforms.count) / Double(layers)
    return DeviceProfile.Correction(
      architectureSHA256: architectureSHA256, batch: batch, factor: factor,
      fixedSeconds: fixedSeconds + share * inputRotationSeconds,
      secondsPerExtraSegment: secondsPerExtraSegment,
      sixteenBitActivationFactor: sixteenBitActivationFactor,
      inputRotationSeconds: inputRotationSeconds)
  }
}

/// Times rotations by themselves: between whole passes with and without, the difference is smaller
/// than what passes differ by from run to run.
struct OnlineTransformTimer {
  let context: KernelContext
  let cancellation: Cancellation

  private static let samples = 31
  /// Floats that one sample turns, at least, so that the clock's grain does not show.
  private static let sampleFloats = 1 << 17

  /// Seconds to turn the inputs of all layers' `down` for so many tokens; `nil` for a model whose
  /// inputs cannot be turned.
  func seconds(_ model: Model, batch: Int) throws -> Double? {
    guard model.canRotateDownInput else { return nil }
    let size = model.operators[try model.downOperator(layer: 0)].shape.inputFeatures
    let rotation = Rotation(size: size, seed: 1)
    var generator = SeededGenerator(state: 5)
    let x = FloatMatrix(
      rows: batch, columns: size,
      values: (0..<batch * size).map { _ in Float.random(in: -1...1, using: &generator) })
    let turns = max(1, Self.sampleFloats / (batch * size))
    var values: [Double] = []
    for _ in 0..<Self.samples {
      try cancellation.check()
      let watch = Stopwatch()
      for _ in 0..<turns { rotation.turn(x, tokenCount: batch, context.pool) }
      values.append(watch.seconds / Double(turns))
    }
    return Double(model.layerCount) * values.sorted()[values.count / 4]
  }
}
