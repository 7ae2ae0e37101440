public import BitplanCheckpoint
public import BitplanCore
import BitplanKernels
import Foundation

extension PackedCheckpoint {
  /// Maps a packed file. Weights stay in the file; vectors are read.
  ///
  /// - Throws: `CheckpointError` for a file that is not a sound safetensors file, `EngineError` for
  ///   one that is not a sound packed model.
  public static func load(path: String) throws -> Model { try loadWithPlan(path: path).model }

  /// Maps a packed file and returns the plan that it was packed by as well.
  public static func loadWithPlan(path: String) throws -> (model: Model, plan: Plan) {
    let checkpoint = try Checkpoint(path: path)
    try checkVersion(checkpoint)
    let plan = try self.plan(of: checkpoint)
    let text = try metadata(Key.configuration, of: checkpoint)
    let configuration = try ModelConfiguration(text: text, name: "\(checkpoint.name): config")
    let names = Set(checkpoint.tensors.map(\.name))
    let architecture = try Architectures.make(
      configuration, tensorNames: Set(names.map(Self.floatName)))
    let operators = architecture.operators
    try PackedPlan.check(plan, against: operators, modelType: configuration.modelType)

    var wanted = architecture.vectors.map(\.name)
    for assignment in plan.operators {
      wanted += assignment.segments.indices.map { segmentName(assignment.name, $0) }
      if assignment.segments.count > 1 { wanted.append(rowMapName(assignment.name)) }
      if assignment.branch != nil { wanted.append(branchName(assignment.name)) }
    }
    wanted += try PackedRotations.tensorNames(of: plan, architecture)
    try Model.requireAll(wanted, in: names, of: checkpoint)
    if let extra = names.subtracting(wanted).min() {
      throw EngineError(
        "packed file '\(checkpoint.name)' holds '\(extra)', which its plan does not mention. Pack "
          + "the model again.")
    }
    let weights = try plan.operators.map { assignment in
      var weights = try load(assignment, from: checkpoint)
      weights.activations = assignment.activations
      weights.branch = try assignment.branch.map { try load($0, of: assignment, from: checkpoint) }
      return OperatorWeights.packed(weights)
    }
    let model = try Model(
      architecture, name: plan.model.name, sha256: plan.model.sha256, weights: weights,
      vectors: Model.vectors(architecture.vectors, from: checkpoint),
      inputRotations: PackedRotations.rotations(of: plan, architecture, from: checkpoint),
      configurationText: text)
    return (model, plan)
  }

  /// The tokenizer that was packed with the model.
  public static func tokenizer(path: String) throws -> any Tokenizer {
    let checkpoint = try Checkpoint(path: path)
    guard let text = checkpoint.metadata[Key.tokenizer] else {
      throw EngineError(
        "packed file '\(checkpoint.name)' holds no tokenizer. Name one with --tokenizer FILE.")
    }
    return try Tokenizers.load(text: text, name: "\(checkpoint.name): tokenizer")
  }

  /// Whether a checkpoint is a packed one.
  public static func isPacked(path: String) throws -> Bool {
    try Checkpoint(path: path).metadata[Key.schemaVersion] != nil
  }

  /// `<operator>.weight` for a segment's or row map's name, so that an architecture can look for
  /// the names it knows.
  private static func floatName(_ name: String) -> String {
    guard let range = name.range(of: ".weight.", options: .backwards) else { return name }
    return name[..<range.lowerBound] + ".weight"
  }

  private static func metadata(
    _ key: String, of checkpoint: Checkpoint
  ) throws(EngineError) -> String {
    guard let value = checkpoint.metadata[key] else {
      throw EngineError(
        "'\(checkpoint.name)' has no metadata '\(key)', so it is not a packed model. Make one with "
          + "'plan pack'.")
    }
    return value
  }

  private static func checkVersion(_ checkpoint: Checkpoint) throws(EngineError) {
    let version = try metadata(Key.schemaVersion, of: checkpoint)
    guard version == "\(supportedSchemaVersion)" else {
      throw EngineError(
        "packed file '\(checkpoint.name)' has version '\(version)'; this version of Bitplan reads "
          + "\(supportedSchemaVersion). Use the version that packed it, or pack the model again.")
    }
  }

  private static func plan(of checkpoint: Checkpoint) throws -> Plan {
    let text = try metadata(Key.plan, of: checkpoint)
    let version = try? JSONDecoder().decode(Version.self, from: Data(text.utf8)).schemaVersion
    if let version, version != Plan.supportedSchemaVersion {
      throw EngineError(
        "the plan inside packed file '\(checkpoint.name)' has schemaVersion \(version); this "
          + "version of Bitplan reads \(Plan.supportedSchemaVersion). Pack the model again.")
    }
    let whole = try PackedPlanText.completed(
      text, rowsSHA256: checkpoint.metadata[Key.rowsSHA256], from: checkpoint)
    do {
      return try JSONDecoder().decode(Plan.self, from: whole)
    } catch {
      throw EngineError(
        "the plan inside packed file '\(checkpoint.name)' cannot be read: \(error). Pack the model "
          + "again.")
    }
  }

  /// The one key that every version of a plan has.
  private struct Version: Decodable {
    let schemaVersion: Int
  }

  /// One operator where it lies in the file.
  private static func load(
    _ assignment: Plan.Assignment, from checkpoint: Checkpoint
  ) throws -> PackedOperator {
    var segments: [(matrix: PackedMatrix, rows: [Range<Int>])] = []
    for (index, segment) in assignment.segments.enumerated() {
      let name = segmentName(assignment.name, index)
      let layout = PackedLayout(
        segment.format,
        MatrixShape(outputFeatures: segment.rowCount, inputFeatures: assignment.inputFeatures))
      let bytes = try alignedBytes(
        name, count: layout.storedBytes, of: "\(segment.format) of \(layout.shape)", checkpoint)
      do {
        segments.append((try PackedMatrix(layout, bytes: bytes), segment.rows))
      } catch {
        throw EngineError("'\(name)' cannot be multiplied by: \(error). Pack the model again.")
      }
    }
    if segments.count == 1 { return PackedOperator(segments[0].matrix) }
    try checkRowMap(assignment, try checkpoint.bytes(rowMapName(assignment.name)))
    do {
      return try PackedOperator(shape: assignment.shape, segments: segments)
    } catch {
      throw EngineError(
        "the segments of '\(assignment.name)' do not fit together: \(error). Pack the model again.")
    }
  }

  /// A side branch where it lies in the file.
  private static func load(
    _ branch: SideBranch, of assignment: Plan.Assignment, from checkpoint: Checkpoint
  ) throws -> PackedBranch {
    let (name, shape) = (branchName(assignment.name), assignment.shape)
    guard branch.fits(shape) else {
      throw EngineError(
        "the plan gives operator '\(assignment.name)' a side branch '\(branch)', which does not fit "
          + "weights of \(shape). Make the plan again.")
    }
    let bytes = try alignedBytes(
      name, count: branch.storedBytes(shape), of: "a side branch \(branch) of \(shape)", checkpoint)
    do {
      return try PackedBranch(branch, shape, bytes: bytes)
    } catch {
      throw EngineError("'\(name)' cannot be multiplied by: \(error)")
    }
  }

  /// Bytes that kernels read where they lie.
  private static func alignedBytes(
    _ name: String, count: Int, of what: String, _ checkpoint: Checkpoint
  ) throws -> ByteSlice {
    let bytes = try checkpoint.bytes(name)
    guard bytes.count == count else {
      throw EngineError(
        "'\(name)' has \(bytes.count) bytes, but \(what) takes \(count). Pack the model again.")
    }
    let isAligned = bytes.withUnsafeBytes { raw in
      Int(bitPattern: raw.baseAddress) % PackedLayout.alignment == 0
    }
    guard isAligned else {
      throw EngineError(
        "'\(name)' does not start at a multiple of \(PackedLayout.alignment) bytes in the file, "
          + "so kernels cannot read it there. Pack the model again.")
    }
    return bytes
  }

  /// The stored row map must be the one that the plan says.
  private static func checkRowMap(
    _ assignment: Plan.Assignment, _ bytes: ByteSlice
  ) throws(EngineError) {
    let name = rowMapName(assignment.name)
    let expected = rowMap(assignment)
    guard bytes.count == expected.count else {
      throw EngineError(
        "'\(name)' has \(bytes.count) bytes, but a map of \(assignment.outputFeatures) rows to "
          + "\(assignment.segments.count) segments takes \(expected.count). Pack the model again.")
    }
    guard bytes.withUnsafeBytes({ $0.elementsEqual(expected) }) else {
      throw EngineError(
        "'\(name)' puts rows into other segments than the plan does. Pack the model again.")
    }
  }
}
