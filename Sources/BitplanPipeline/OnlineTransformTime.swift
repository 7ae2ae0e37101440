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
    let layers = Double((operators.compactMap(\.layer).max() ?? 0) + 1)
    var added = 0.0
    for transform in transforms where transform.isOnline {
      let seconds = transform.kind == .kronecker ? inputKroneckerSeconds : inputRotationSeconds
      guard let seconds else {
        throw PipelineError(
          .invalidInput,
          "The device profile does not say how long rotating inputs at run time takes. Profile that "
            + "machine again with 'plan profile --for MODEL', or measure without such a rotation: "
            + "--transforms none.")
      }
      added += seconds / layers
    }
    return DeviceProfile.Correction(
      architectureSHA256: architectureSHA256, batch: batch, factor: factor,
      fixedSeconds: fixedSeconds + added, secondsPerExtraSegment: secondsPerExtraSegment,
      sixteenBitActivationFactor: sixteenBitActivationFactor,
      inputRotationSeconds: inputRotationSeconds, inputKroneckerSeconds: inputKroneckerSeconds)
  }

  /// Whether it says all about the model's inputs that a profile from before these were turned lacks.
  func coversOnlineTransforms(of model: Model) -> Bool {
    OnlineTransformTimer.Form.allCases.allSatisfy { form in
      let seconds = form == .seeded ? inputRotationSeconds : inputKroneckerSeconds
      return seconds != nil || form.rotation(model) == nil
    }
  }
}

/// Times rotations by themselves: between whole passes with and without, the difference is smaller
/// than what passes differ by from run to run.
struct OnlineTransformTimer {
  /// Forms that take different times.
  enum Form: CaseIterable {
    case seeded
    case kronecker

    /// A rotation of the input of `down`, whose numbers do not matter; `nil` where the model's size
    /// takes none.
    func rotation(_ model: Model) -> Rotation? {
      guard let down = try? model.downOperator(layer: 0) else { return nil }
      let size = model.operators[down].shape.inputFeatures
      switch self {
      case .seeded: return model.canRotateDownInput ? Rotation(size: size, seed: 1) : nil
      case .kronecker:
        return Rotation.kroneckerSizes(size).map {
          Rotation(slow: Self.identity($0.slow), fast: Self.identity($0.fast))
        }
      }
    }

    private static func identity(_ size: Int) -> FloatMatrix {
      let result = FloatMatrix(rows: size, columns: size)
      for index in 0..<size { result[index, index] = 1 }
      return result
    }
  }

  let context: KernelContext
  let cancellation: Cancellation

  /// So many that they take longer than other tenants of a machine hold it up at once.
  private static let samples = 301
  /// Floats that one sample turns, at least, so that the clock's grain does not show.
  private static let sampleFloats = 1 << 17

  /// Seconds to turn the inputs of all layers' `down` for so many tokens; `nil` for a model whose
  /// inputs cannot be turned in this form.
  func seconds(_ model: Model, _ form: Form, batch: Int) throws -> Double? {
    guard let rotation = form.rotation(model) else { return nil }
    let size = rotation.size
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
