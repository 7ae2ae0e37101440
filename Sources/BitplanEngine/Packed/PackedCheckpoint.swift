import BitplanCheckpoint
public import BitplanCore
public import BitplanKernels
import Foundation

/// A packed model in one safetensors file, complete enough to run without the float checkpoint.
///
/// Tensors:
/// - `<operator>.weight.segment<i>`, U8 `[storedBytes]`: segment `i` as `PackedLayout` says;
/// - `<operator>.weight.rows`, U8 `[Plan.Assignment.rowMapBytes]`, only for operators with several
///   segments: the segment of every output feature, 1, 2, 4, 8 or 16 bits each, zeros after the
///   last; rows keep their order inside a segment;
/// - `<operator>.weight.branch`, U8 `[SideBranch.storedBytes]`, only for operators with a side branch:
///   the right factor of a low-rank branch and then the left one, each as `PackedLayout` says, or
///   outliers as `OutlierLayout` says;
/// - `<operator>.input.slow` and `.fast`, F32 `[slowSize, slowSize]` and `[fastSize, fastSize]`: what
///   turns an input at run time, where the plan has a Kronecker product for it;
/// - every vector (norms, biases, position tables) under its own name, F32.
///
/// Metadata: `bitplan.schemaVersion`, `bitplan.plan` (the plan's JSON; segments without `rows` have
/// them in the row map), `bitplan.rowsSHA256` (of all row maps in order), `bitplan.config` (the text
/// of the model's `config.json`), and `bitplan.tokenizer` (its `tokenizer.json` without white space)
/// where there is one. Segments, row maps and branches come first, each at a multiple of 64 bytes, so that
/// kernels multiply straight from the mapped file.
public enum PackedCheckpoint {
  /// The major version this code reads and writes. In version 1 binary coding had a scale for every
  /// bit; 2 bits of it took as many bytes as now, so nothing but this number tells them apart.
  public static let supportedSchemaVersion = 2

  enum Key {
    static let schemaVersion = "bitplan.schemaVersion"
    static let plan = "bitplan.plan"
    static let rowsSHA256 = "bitplan.rowsSHA256"
    static let configuration = "bitplan.config"
    static let tokenizer = "bitplan.tokenizer"
  }

  static func segmentName(_ operatorName: String, _ index: Int) -> String {
    "\(operatorName).weight.segment\(index)"
  }

  static func branchName(_ operatorName: String) -> String { "\(operatorName).weight.branch" }

  static func rowMapName(_ operatorName: String) -> String { "\(operatorName).weight.rows" }

  /// Writes `operators` with everything else that `model` needs.
  ///
  /// The tensors of segments, row maps and branches together are exactly `Σ plan.operators[i].storedBytes`.
  ///
  /// - Parameters:
  ///   - path: the file; written beside and renamed, so that nobody sees half of it.
  ///   - plan: what was packed; its operators are the model's, in the model's order.
  ///   - model: supplies vectors and configuration, and turns the inputs that the plan says; its
  ///     weights are not read.
  ///   - operators: one for every operator, segmented as `plan` says.
  ///   - tokenizer: the text of the model's `tokenizer.json`, so that the file runs on its own.
  /// - Throws: `EngineError` where plan, model and operators disagree, and what writing throws.
  public static func write(
    path: String, plan: Plan, model: Model, operators: [PackedOperator], tokenizer: String? = nil
  ) throws {
    try PackedPlan.check(plan, against: model.operators, modelType: model.identity.architecture)
    try PackedRotations.check(plan, against: model)
    guard operators.count == plan.operators.count else {
      throw EngineError(
        "\(operators.count) packed operators were given for a plan of \(plan.operators.count). Pack "
          + "every operator of the plan.")
    }
    var entries: [SafetensorsWriter.Entry] = []
    for (assignment, packed) in zip(plan.operators, operators) {
      try check(packed, against: assignment)
      for (index, segment) in packed.segments.enumerated() {
        entries.append(entry(segmentName(assignment.name, index), segment.matrix.bytes))
      }
      if let branch = packed.branch {
        entries.append(entry(branchName(assignment.name), branch.bytes))
      }
      if packed.segments.count > 1 {
        let map = rowMap(assignment)
        entries.append(
          SafetensorsWriter.Entry(
            name: rowMapName(assignment.name), dataType: "U8", shape: [map.count],
            byteCount: map.count
          ) { sink in try map.withUnsafeBytes(sink) })
      }
    }
    for (description, vector) in zip(model.architecture.vectors, model.vectors) {
      entries.append(
        SafetensorsWriter.Entry(
          name: description.name, dataType: "F32", shape: description.shape,
          byteCount: vector.rows * vector.columns * 4
        ) { sink in
          try vector.withUnsafeBufferPointer { try sink(UnsafeRawBufferPointer($0)) }
        })
    }
    entries += PackedRotations.entries(of: model)
    var metadata = [
      Key.schemaVersion: "\(supportedSchemaVersion)",
      Key.plan: try PackedPlanText.text(plan),
      Key.rowsSHA256: PackedPlanText.rowsSHA256(plan),
      Key.configuration: model.configurationText,
    ]
    metadata[Key.tokenizer] = tokenizer.map(JSONText.compacted)
    try SafetensorsWriter.write(path: path, metadata: metadata, entries: entries)
  }

  private static func entry(_ name: String, _ bytes: ByteSlice) -> SafetensorsWriter.Entry {
    SafetensorsWriter.Entry(
      name: name, dataType: "U8", shape: [bytes.count], byteCount: bytes.count
    ) { sink in try bytes.withUnsafeBytes(sink) }
  }

  /// The segment of every output feature, as it is stored: `rowMapBits` bits each, the first
  /// feature in the lowest bits of the first byte.
  static func rowMap(_ assignment: Plan.Assignment) -> [UInt8] {
    let bits = Plan.Assignment.rowMapBits(segmentCount: assignment.segments.count)
    let total = Plan.Assignment.rowMapBytes(
      outputFeatures: assignment.outputFeatures, segmentCount: assignment.segments.count)
    var bytes = [UInt8](repeating: 0, count: total)
    for (index, segment) in assignment.segments.enumerated() {
      for row in segment.rows.joined() {
        let place = row * bits
        bytes[place / 8] |= UInt8(truncatingIfNeeded: index << (place % 8))
        if bits == 16 { bytes[place / 8 + 1] |= UInt8(truncatingIfNeeded: index >> 8) }
      }
    }
    return bytes
  }

  private static func check(
    _ packed: PackedOperator, against assignment: Plan.Assignment
  ) throws(EngineError) {
    let name = assignment.name
    guard packed.segments.count == assignment.segments.count else {
      throw EngineError(
        "operator '\(name)' was packed in \(packed.segments.count) segments, but the plan has "
          + "\(assignment.segments.count). Pack it again as the plan says.")
    }
    guard packed.branch?.branch == assignment.branch else {
      throw EngineError(
        "operator '\(name)' was packed with the side branch "
          + "'\(packed.branch?.branch.identifier ?? "none")', but the plan has "
          + "'\(assignment.branch?.identifier ?? "none")'. Pack it again as the plan says.")
    }
    for (index, pair) in zip(packed.segments, assignment.segments).enumerated() {
      let (matrix, planned) = (pair.0.matrix, pair.1)
      let shape = MatrixShape(
        outputFeatures: planned.rowCount, inputFeatures: assignment.inputFeatures)
      guard matrix.format == planned.format, matrix.shape == shape else {
        throw EngineError(
          "segment \(index) of operator '\(name)' was packed as \(matrix.format) \(matrix.shape), "
            + "but the plan says \(planned.format) \(shape). Pack it again as the plan says.")
      }
      let rows = planned.rows.joined().map { UInt32($0) }
      let inPlace = rows.indices.allSatisfy { rows[$0] == UInt32($0) }
      guard pair.0.rowMap.map({ $0 == rows }) ?? inPlace else {
        throw EngineError(
          "segment \(index) of operator '\(name)' holds other rows than the plan says. Pack it "
            + "again as the plan says.")
      }
    }
  }
}
