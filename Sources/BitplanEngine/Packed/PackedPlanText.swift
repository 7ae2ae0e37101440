import BitplanCheckpoint
import BitplanCore
import Foundation

/// The plan as a packed file keeps it: without the rows of operators that have a row map.
///
/// Rows that are dealt out one by one take ten bytes each as JSON and a bit or two in the map. What
/// the maps must say is kept as their SHA-256, so that a damaged map is not taken for a plan.
enum PackedPlanText {
  /// The plan's JSON without the rows that its row maps hold.
  static func text(_ plan: Plan) throws -> String {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    let data = try encoder.encode(plan)
    guard var object = try JSONSerialization.jsonObject(with: data) as? [String: Any],
      var operators = object["operators"] as? [[String: Any]]
    else { return String(decoding: data, as: UTF8.self) }
    for (index, assignment) in plan.operators.enumerated() where leavesRowsOut(assignment) {
      operators[index]["segments"] = assignment.segments.map { ["format": $0.format.identifier] }
    }
    object["operators"] = operators
    return String(decoding: try serialized(object), as: UTF8.self)
  }

  /// SHA-256 of the row maps of all operators with several segments, in the plan's order.
  static func rowsSHA256(_ plan: Plan) -> String {
    ArtifactFile.sha256(
      plan.operators.filter { $0.segments.count > 1 }.flatMap(PackedCheckpoint.rowMap))
  }

  /// JSON of the whole plan, with rows from the maps in `checkpoint` where `text` has none. Text
  /// that is not a plan comes back as it is, for the decoder to refuse.
  static func completed(
    _ text: String, rowsSHA256: String?, from checkpoint: Checkpoint
  ) throws -> Data {
    let data = Data(text.utf8)
    guard var object = try? JSONSerialization.jsonObject(with: data) as? [String: Any],
      var operators = object["operators"] as? [[String: Any]]
    else { return data }
    var maps: [UInt8] = []
    var isChanged = false
    for index in operators.indices {
      guard let name = operators[index]["name"] as? String,
        let outputFeatures = operators[index]["outputFeatures"] as? Int, outputFeatures > 0,
        var segments = operators[index]["segments"] as? [[String: Any]], segments.count > 1
      else { continue }
      let map = try checkpoint.bytes(PackedCheckpoint.rowMapName(name))
        .withUnsafeBytes { Array($0) }
      maps += map
      guard segments.allSatisfy({ $0["rows"] == nil }) else { continue }
      let rows = try Self.rows(
        map, name: name, outputFeatures: outputFeatures, segmentCount: segments.count)
      for segment in segments.indices {
        segments[segment]["rows"] = rows[segment].map { [$0.lowerBound, $0.upperBound] }
      }
      operators[index]["segments"] = segments
      isChanged = true
    }
    guard isChanged else { return data }
    guard ArtifactFile.sha256(maps) == rowsSHA256 else {
      throw EngineError(
        "the row maps of packed file '\(checkpoint.name)' put rows into other segments than its "
          + "plan does. Pack the model again.")
    }
    object["operators"] = operators
    return try serialized(object)
  }

  /// The rows of every segment that a map tells, as ranges that do not touch.
  private static func rows(
    _ map: [UInt8], name: String, outputFeatures: Int, segmentCount: Int
  ) throws(EngineError) -> [[Range<Int>]] {
    let bits = Plan.Assignment.rowMapBits(segmentCount: segmentCount)
    // The comparison with the bytes at hand comes first: sizes in a file may be anything.
    guard outputFeatures <= map.count * 8,
      map.count
        == Plan.Assignment.rowMapBytes(outputFeatures: outputFeatures, segmentCount: segmentCount)
    else {
      throw EngineError(
        "'\(PackedCheckpoint.rowMapName(name))' has \(map.count) bytes, which is not what a map of "
          + "\(outputFeatures) rows to \(segmentCount) segments takes. Pack the model again.")
    }
    var result = [[Range<Int>]](repeating: [], count: segmentCount)
    for row in 0..<outputFeatures {
      let place = row * bits
      var segment = Int(map[place / 8]) >> (place % 8) & ((1 << min(bits, 8)) - 1)
      if bits == 16 { segment |= Int(map[place / 8 + 1]) << 8 }
      guard segment < segmentCount else {
        throw EngineError(
          "'\(PackedCheckpoint.rowMapName(name))' puts rows into other segments than the plan does: "
            + "row \(row) into segment \(segment) of \(segmentCount). Pack the model again.")
      }
      if let last = result[segment].last, last.upperBound == row {
        result[segment][result[segment].count - 1] = last.lowerBound..<row + 1
      } else {
        result[segment].append(row..<row + 1)
      }
    }
    return result
  }

  /// Whether the map gives back the very ranges of the plan: they must not touch.
  private static func leavesRowsOut(_ assignment: Plan.Assignment) -> Bool {
    assignment.segments.count > 1
      && assignment.segments.allSatisfy { segment in
        zip(segment.rows, segment.rows.dropFirst()).allSatisfy { $0.upperBound < $1.lowerBound }
      }
  }

  private static func serialized(_ object: [String: Any]) throws -> Data {
    try JSONSerialization.data(
      withJSONObject: object, options: [.sortedKeys, .withoutEscapingSlashes])
  }
}
