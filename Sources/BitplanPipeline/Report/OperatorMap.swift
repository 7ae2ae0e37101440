import BitplanCore

/// Layers × operator types: the grid behind the map in the text and the heat map.
struct OperatorMap {
  /// A column: one type of operator.
  struct Column {
    /// What tells it from other types.
    let type: String
    /// A short heading, different from those of all other columns.
    let label: String
  }

  /// A row: one layer.
  struct Row {
    /// The layer's number, with its stack where the model has several.
    let label: String
    /// The operators of each column; empty where the layer has none, several for experts.
    let cells: [[OperatorSummary]]
  }

  /// Types of operators, attention first.
  let columns: [Column]
  /// Layers in order, stack by stack.
  let rows: [Row]
  /// Operators outside the layers that come before them: embeddings.
  let above: [OperatorSummary]
  /// The other operators outside the layers, such as the head.
  let below: [OperatorSummary]

  /// Everything outside the layers.
  var outside: [OperatorSummary] { above + below }

  /// Sorts operators into the grid.
  init(_ operators: [OperatorSummary]) {
    let layered = operators.filter { $0.place.layer != nil }
    let outside = operators.filter { $0.place.layer == nil }
    above = outside.filter(\.place.looksLikeEmbedding)
    below = outside.filter { !$0.place.looksLikeEmbedding }

    var types: [OperatorPlace] = []
    var typeIndex: [String: Int] = [:]
    var stacks: [String] = []
    var layers: [String: [Int: [OperatorSummary]]] = [:]
    for summary in layered {
      let place = summary.place
      if typeIndex[place.type] == nil {
        typeIndex[place.type] = types.count
        types.append(place)
      }
      if layers[place.stack] == nil { stacks.append(place.stack) }
      layers[place.stack, default: [:]][place.layer ?? 0, default: []].append(summary)
    }

    let unknown = Int.max
    let ordered = types.enumerated().sorted {
      ($0.element.rank ?? unknown, $0.offset) < ($1.element.rank ?? unknown, $1.offset)
    }.map(\.element)
    columns = zip(ordered, Self.distinctLabels(ordered)).map {
      Column(type: $0.type, label: $1)
    }

    var rows: [Row] = []
    for stack in stacks {
      for (layer, members) in (layers[stack] ?? [:]).sorted(by: { $0.key < $1.key }) {
        let label = stacks.count > 1 ? "\(stack).\(layer)" : "\(layer)"
        rows.append(
          Row(
            label: label,
            cells: ordered.map { type in members.filter { $0.place.type == type.type } }))
      }
    }
    self.rows = rows
  }

  /// Short labels where they are unique, else as many trailing components as it takes.
  private static func distinctLabels(_ places: [OperatorPlace]) -> [String] {
    let short = places.map(\.label)
    var uses: [String: Int] = [:]
    for label in short { uses[label, default: 0] += 1 }
    return zip(places, short).map { place, label in
      (uses[label] ?? 0) > 1 ? place.type : label
    }
  }
}

extension [OperatorSummary] {
  /// The format of the most weights in a cell, and whether the cell has more than one.
  var dominantFormat: (bitWidth: Int, isMixed: Bool)? {
    var weights: [Int: Double] = [:]
    var formats: Set<String> = []
    for summary in self {
      for segment in summary.segments {
        formats.insert(segment.format.identifier)
        weights[segment.format.bitWidth, default: 0] +=
          segment.share * Double(Swift.max(1, summary.weightCount))
      }
    }
    guard let best = weights.max(by: { ($0.value, $0.key) < ($1.value, $1.key) }) else {
      return nil
    }
    return (best.key, formats.count > 1)
  }
}
