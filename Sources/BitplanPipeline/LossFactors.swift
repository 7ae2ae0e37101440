internal import BitplanCore

/// What measured losses say about predicted ones: a factor for every bit width.
package struct LossFactors: Hashable {
  /// Factor of every width that has one.
  private(set) var byWidth: [Int: Double] = [:]

  /// No correction.
  init() {}

  /// Factors by width; positive and finite.
  package init(_ byWidth: [Int: Double]) { self.byWidth = byWidth }

  /// The factor of a width: its own, else the root of that of the nearest width, of two the narrower
  /// one. What one width's rows showed is a hint for its neighbours, not a measurement: taken whole,
  /// a search runs to the widths that nothing was measured of.
  package func factor(bitWidth: Int) -> Double {
    let nearest = byWidth.keys.min {
      (abs($0 - bitWidth), $0) < (abs($1 - bitWidth), $1)
    }
    guard let nearest, let factor = byWidth[nearest] else { return 1 }
    return nearest == bitWidth ? factor : factor.squareRoot()
  }

  /// All factors times `factor`, for these widths.
  func scaled(by factor: Double, widths: [Int]) -> LossFactors {
    LossFactors(
      Dictionary(uniqueKeysWithValues: widths.map { ($0, self.factor(bitWidth: $0) * factor) }))
  }

  /// As a plan records them.
  var record: [Plan.Check.Factor] {
    byWidth.sorted { $0.key < $1.key }.map { .init(bitWidth: $0.key, factor: $0.value) }
  }
}

extension PlanProblem {
  /// Widths of all candidates, ascending.
  var widths: [Int] {
    Set(candidates.joined().flatMap { $0.formats.map(\.bitWidth) }).sorted()
  }

  /// The loss of a candidate of operator `index` by bit width; the parts add up to the loss.
  func lossByWidth(
    _ candidate: Candidate, _ index: Int, _ rows: [SensitivityTable.Row]
  ) -> [Int: Double] {
    if candidate.formats.count == 1 {
      return [candidate.formats[0].bitWidth: candidate.loss]
    }
    let segments = candidate.segments
    let parts = segments.map { max(0, rows[index].loss(of: $0, beside: candidate.branch) ?? 0) }
    let total = parts.reduce(0, +)
    var result: [Int: Double] = [:]
    for (segment, part) in zip(segments, parts) {
      result[segment.format.bitWidth, default: 0] +=
        total > 0
        ? candidate.loss * part / total : candidate.loss / Double(segments.count)
    }
    return result
  }

  /// The same problem with corrected losses.
  ///
  /// - Parameter rows: the sensitivity's rows, which tell the parts of a mixed candidate apart.
  func corrected(by factors: LossFactors, _ rows: [SensitivityTable.Row]) -> PlanProblem {
    guard !factors.byWidth.isEmpty else { return self }
    func corrected(_ list: [[Candidate]]) -> [[Candidate]] {
      list.enumerated().map { index, row in
        row.map { candidate in
          let loss = lossByWidth(candidate, index, rows).sorted { $0.key < $1.key }.reduce(0) {
            $0 + $1.value * factors.factor(bitWidth: $1.key)
          }
          var copy = candidate
          copy.standardError *= candidate.loss > 0 ? loss / candidate.loss : 1
          copy.loss = loss
          return copy
        }
      }
    }
    var copy = self
    copy.candidates = corrected(candidates)
    copy.wholes = corrected(wholes)
    return copy
  }
}
