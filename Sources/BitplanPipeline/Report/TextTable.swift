/// Rows of text in aligned columns.
struct TextTable {
  /// Where a column's text stands.
  enum Alignment {
    case left, right
  }

  private let alignments: [Alignment]
  private var rows: [[String]] = []

  /// A table with one column for every alignment.
  init(_ alignments: [Alignment]) { self.alignments = alignments }

  /// Adds a row; missing cells at its end are empty.
  mutating func add(_ cells: [String]) { rows.append(cells) }

  /// Columns of the terminal that the table takes when nothing is cut.
  var naturalWidth: Int { columnWidths.reduce(0, +) + 2 * max(0, columnWidths.count - 1) }

  private var columnWidths: [Int] {
    alignments.indices.map { column in
      rows.map { column < $0.count ? SafeText.columns($0[column]) : 0 }.max() ?? 0
    }
  }

  /// The lines, with two spaces between columns and none at the end.
  ///
  /// Where the table is wider than `width`, the first column's texts are cut in the middle.
  func lines(width: Int) -> [String] {
    var widths = columnWidths
    if naturalWidth > width, !widths.isEmpty {
      widths[0] = max(1, widths[0] - (naturalWidth - width))
    }
    return rows.map { row in
      var line = ""
      for column in alignments.indices {
        let text = SafeText.shortened(column < row.count ? row[column] : "", to: widths[column])
        let padding = String(repeating: " ", count: widths[column] - SafeText.columns(text))
        if column > 0 { line += "  " }
        line += alignments[column] == .left ? text + padding : padding + text
      }
      while line.hasSuffix(" ") { line.removeLast() }
      return line
    }
  }
}

/// Prose broken into lines.
enum TextFlow {
  /// `text` in lines of at most `width` columns, all but the first indented by `indent` spaces.
  ///
  /// A word that is too long for a line is cut in its middle.
  static func wrapped(_ text: String, width: Int, indent: Int = 0) -> [String] {
    var lines: [String] = []
    var line = ""
    for word in text.split(separator: " ") {
      let margin = lines.isEmpty && line.isEmpty ? 0 : indent
      let piece = SafeText.shortened(String(word), to: max(1, width - margin))
      if line.isEmpty {
        line = piece
      } else if SafeText.columns(line) + 1 + SafeText.columns(piece) <= width {
        line += " " + piece
      } else {
        lines.append(line)
        line = String(repeating: " ", count: indent) + piece
      }
    }
    return line.isEmpty ? lines : lines + [line]
  }
}
