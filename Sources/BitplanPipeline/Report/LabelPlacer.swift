/// Finds room for labels beside points, so that no label covers a point or another label.
struct LabelPlacer {
  /// A rectangle in the picture.
  struct Box {
    var minX, minY, maxX, maxY: Double

    /// Whether two rectangles share an area.
    func overlaps(_ other: Box) -> Bool {
      minX < other.maxX && other.minX < maxX && minY < other.maxY && other.minY < maxY
    }
  }

  /// Where a label goes.
  struct Position {
    /// The baseline's reference point.
    let x, y: Double
    /// `start`, `middle` or `end`: the style of the text.
    let anchor: String
  }

  private let bounds: Box
  private var taken: [Box] = []

  /// Labels stay inside `bounds`.
  init(bounds: Box) { self.bounds = bounds }

  /// Keeps labels off a point.
  mutating func occupy(_ x: Double, _ y: Double, radius: Double) {
    taken.append(Box(minX: x - radius, minY: y - radius, maxX: x + radius, maxY: y + radius))
  }

  /// Room for `text` beside the point, or `nil` where everything is taken.
  mutating func place(
    _ text: String, besideX x: Double, y: Double, fontSize: Double, distance: Double
  ) -> Position? {
    // Digits and lower-case letters of interface fonts are below 0.62 of the font size.
    let width = Double(SafeText.columns(text)) * fontSize * 0.62
    let half = fontSize * 0.36
    let candidates: [(Double, Double, String)] = [
      (x + distance, y + half, "start"), (x, y - distance - 1, "middle"),
      (x - distance, y + half, "end"), (x, y + distance + fontSize * 0.75, "middle"),
      (x + distance * 0.85, y - distance * 0.9, "start"),
      (x - distance * 0.85, y - distance * 0.9, "end"),
      (x + distance * 0.85, y + distance * 0.9 + half, "start"),
      (x - distance * 0.85, y + distance * 0.9 + half, "end"),
      (x + distance * 1.6, y - distance * 1.8, "start"),
      (x + distance * 1.6, y + distance * 1.8 + half, "start"),
    ]
    for (left, baseline, anchor) in candidates {
      let minX = anchor == "start" ? left : anchor == "end" ? left - width : left - width / 2
      let box = Box(
        minX: minX, minY: baseline - fontSize * 0.8, maxX: minX + width,
        maxY: baseline + fontSize * 0.22)
      let isInside =
        box.minX >= bounds.minX && box.maxX <= bounds.maxX && box.minY >= bounds.minY
        && box.maxY <= bounds.maxY
      guard isInside, !taken.contains(where: box.overlaps) else { continue }
      taken.append(box)
      return Position(x: left, y: baseline, anchor: anchor)
    }
    return nil
  }
}
