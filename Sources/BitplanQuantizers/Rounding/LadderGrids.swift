internal import BitplanCore
internal import BitplanKernels

/// Grids of uneven values: non-linear levels under a scale, and binary coding.
///
/// Every (row, group) has a ladder of its values in ascending order with the code of each; what is
/// nearest is found by comparing with the middles between them.
///
/// `@unchecked Sendable`: a chunk and its grids belong to one thread at a time.
final class LadderGrids: RoundingGrids, @unchecked Sendable {
  let span: Int
  let parameterCount: Int
  private let format: WeightFormat
  private let groups: Int
  private let levelCount: Int
  /// Plane weights of a group; they come first among its parameters.
  private let planeCount: Int
  private let matrices: [FloatMatrix]
  /// `[groups][parameterCount][height]`: plane weights where there are any, the scale, and the offset
  /// of binary coding.
  private let numbers: UnsafeMutablePointer<Float>
  /// `[groups][levelCount][height]`; the last middle is not used.
  private let values, codesOfLevels, middles: UnsafeMutablePointer<Float>

  /// Grids for rows of `size` input features.
  init(_ format: WeightFormat, size: Int) {
    self.format = format
    span = format.groupSize
    planeCount = format.coding == .binary && format.bitWidth > 1 ? format.bitWidth : 0
    parameterCount = planeCount + (format.coding == .binary ? 2 : 1)
    levelCount = 1 << format.bitWidth
    groups = max(1, (size + span - 1) / span)
    let counts = [groups * parameterCount] + Array(repeating: groups * levelCount, count: 3)
    matrices = counts.map { FloatMatrix(rows: $0, columns: Lanes.height) }
    let addresses = matrices.map(Lanes.address)
    numbers = addresses[0]
    (values, codesOfLevels, middles) = (addresses[1], addresses[2], addresses[3])
  }

  /// Takes the numbers of a row.
  func set(row: Int, fitted: FittedRow) {
    for group in 0..<groups {
      let first = group * parameterCount * Lanes.height + row
      for plane in 0..<planeCount {
        numbers[first + plane * Lanes.height] = Float(fitted.bytes[group * planeCount + plane])
      }
      let scale = Float(Float16(bitPattern: fitted.scales[group]))
      if format.coding == .binary {
        numbers[first + planeCount * Lanes.height] = scale
        numbers[first + (planeCount + 1) * Lanes.height] =
          Float(Float16(bitPattern: fitted.offsets[group]))
      } else {
        numbers[first] = scale == 0 ? 9.536_743e-07 : scale
      }
      buildLadder(row, group)
    }
  }

  /// A row whose place no weights take.
  func clear(row: Int) {
    for group in 0..<groups {
      for parameter in 0..<parameterCount {
        numbers[(group * parameterCount + parameter) * Lanes.height + row] = 1
      }
      buildLadder(row, group)
    }
  }

  /// A row's numbers around `codes`.
  func fitted(row: Int, codes: [UInt8]) -> FittedRow {
    func half(_ group: Int, _ parameter: Int) -> UInt16 {
      Float16(number(parameter, row, group)).bitPattern
    }
    return FittedRow(
      codes: codes, scales: (0..<groups).map { half($0, planeCount) },
      bytes: (0..<groups).flatMap { group in
        (0..<planeCount).map { UInt8(number($0, row, group)) }
      },
      offsets: format.coding == .binary ? (0..<groups).map { half($0, planeCount + 1) } : [])
  }

  private func number(_ parameter: Int, _ row: Int, _ group: Int) -> Float {
    numbers[(group * parameterCount + parameter) * Lanes.height + row]
  }

  /// The whole number that a code of binary coding stands for.
  private func signedSum(_ code: Int, _ row: Int, _ group: Int) -> Float {
    guard planeCount > 0 else { return code == 1 ? 1 : -1 }
    return (0..<planeCount).reduce(0) { sum, plane in
      let weight = number(plane, row, group)
      return code >> plane & 1 == 1 ? sum + weight : sum - weight
    }
  }

  /// The value of a code, computed as `QuantizedWeights.dequantized()` does.
  private func level(_ code: Int, _ row: Int, _ group: Int) -> Float {
    let scale = number(planeCount, row, group)
    guard format.coding == .binary else {
      return scale * NonlinearLevels.value(UInt8(code))
    }
    return number(planeCount + 1, row, group) + scale * signedSum(code, row, group)
  }

  private func buildLadder(_ row: Int, _ group: Int) {
    let ladder = (0..<levelCount).map { (level($0, row, group), Float($0)) }
      .sorted { $0.0 < $1.0 }
    let first = group * levelCount * Lanes.height + row
    for (index, (value, code)) in ladder.enumerated() {
      let at = first + index * Lanes.height
      values[at] = value
      codesOfLevels[at] = code
      // Halves are added so that no sum of two levels can overflow.
      middles[at] = value / 2 + ladder[min(index + 1, levelCount - 1)].0 / 2
    }
  }

  // MARK: Rounding

  @inline(__always)
  func round(
    _ target: UnsafeMutablePointer<Float>, column: Int, codes: UnsafeMutablePointer<Float>,
    values result: UnsafeMutablePointer<Float>
  ) {
    let first = column / span * levelCount * Lanes.height
    for lane in stride(from: 0, to: Lanes.height, by: Lanes.count) {
      let wanted = Lanes.load(target + lane)
      var value = Lanes.load(values + first + lane)
      var code = Lanes.load(codesOfLevels + first + lane)
      for index in 1..<levelCount {
        let at = first + index * Lanes.height + lane
        let above = wanted .> Lanes.load(middles + at - Lanes.height)
        value.replace(with: Lanes.load(values + at), where: above)
        code.replace(with: Lanes.load(codesOfLevels + at), where: above)
      }
      Lanes.store(code, codes + lane)
      Lanes.store(value, result + lane)
    }
  }

  func basis(
    _ parameter: Int, column: Int, codes: UnsafeMutablePointer<Float>,
    into target: UnsafeMutablePointer<Float>
  ) {
    let group = column / span
    for row in 0..<Lanes.height {
      let code = Int(codes[row])
      target[row] =
        if format.coding == .nonlinear {
          NonlinearLevels.value(UInt8(code))
        } else if parameter < planeCount {
          (code >> parameter & 1 == 1 ? 1 : -1) * number(planeCount, row, group)
        } else {
          parameter == planeCount ? signedSum(code, row, group) : 1
        }
    }
  }

  func parameters(_ parameter: Int, span: Int) -> UnsafeMutablePointer<Float> {
    numbers + (span * parameterCount + parameter) * Lanes.height
  }

  func stored(_ wanted: Float, parameter: Int, span: Int, row: Int) -> Float {
    if parameter < planeCount {
      // What the other plane weights leave of the most that all of them may be.
      let others = (0..<planeCount).reduce(Float(0)) {
        $1 == parameter ? $0 : $0 + number($1, row, span)
      }
      return min(max(wanted.rounded(), 0), Float(PlaneWeights.most) - others)
    }
    let bounded = min(max(wanted, -65_504), 65_504)
    guard format.coding == .nonlinear, abs(bounded) < 9.536_743e-07 else {
      return Float(Float16(bounded))
    }
    return Float(Float16(bounded < 0 ? -9.536_743e-07 : 9.536_743e-07))
  }

  func refresh(span: Int) { for row in 0..<Lanes.height { buildLadder(row, span) } }

  func value(
    column: Int, codes: UnsafeMutablePointer<Float>, into values: UnsafeMutablePointer<Float>
  ) {
    for row in 0..<Lanes.height { values[row] = level(Int(codes[row]), row, column / span) }
  }
}
