internal import BitplanCore
internal import BitplanKernels
internal import CBLAS

/// Some rows of an operator while their codes are found, input features first: element `(k, r)` of
/// every matrix is at `k · height + r`, so that rows lie side by side in vectors.
///
/// The objective of a row is `e H eᵀ` with `e = w − ŵ`. Every step either feeds rounding errors
/// forward (GPTQ) or lowers the objective.
struct RoundingChunk: Sendable {
  /// Rows of a chunk: their working set fits in the second-level cache at common widths.
  static let height = 64
  private typealias Vector = SIMD16<Float>
  private static let lanes = 16
  /// Input features that are rounded between two matrix products.
  private static let blockSize = 32
  /// Adding and subtracting 1.5·2²³ rounds to the nearest integer, ties to even.
  private static let roundingConstant: Float = 12_582_912

  private let curvature: InputCurvature
  private let size: Int
  private let groupSize: Int
  private let maximumCode: Float
  /// `w`, `ŵ`, codes, `H (w − ŵ)`, and two work spaces, `[size][height]` each.
  private let weights: FloatMatrix
  private let values: FloatMatrix
  private let codes: FloatMatrix
  private let gradient: FloatMatrix
  private let work: FloatMatrix
  private let errors: FloatMatrix
  /// Scale and zero point of every group, `[groups][height]`.
  private let scales: FloatMatrix
  private let zeros: FloatMatrix

  init(_ curvature: InputCurvature, format: WeightFormat) {
    self.curvature = curvature
    let size = curvature.size
    self.size = size
    groupSize = format.groupSize
    maximumCode = Float((1 << format.bitWidth) - 1)
    let matrices = (0..<6).map { _ in FloatMatrix(rows: size, columns: Self.height) }
    (weights, values, codes) = (matrices[0], matrices[1], matrices[2])
    (gradient, work, errors) = (matrices[3], matrices[4], matrices[5])
    let groups = (size + groupSize - 1) / groupSize
    scales = FloatMatrix(rows: groups, columns: Self.height)
    zeros = FloatMatrix(rows: groups, columns: Self.height)
  }

  // MARK: In and out

  /// Takes a row's weights and grids; rows that are never set stay 0 and cost nothing but time.
  func set(row: Int, weights source: UnsafeBufferPointer<Float>, grids: [GroupGrid]) {
    weights.withUnsafeMutableBufferPointer { target in
      for column in 0..<size { target[column * Self.height + row] = source[column] }
    }
    for (group, grid) in grids.enumerated() {
      scales[group, row] = grid.scale
      zeros[group, row] = grid.zeroPoint
    }
  }

  /// A row whose place no weights take.
  func clear(row: Int) {
    weights.withUnsafeMutableBufferPointer { target in
      for column in 0..<size { target[column * Self.height + row] = 0 }
    }
    for group in 0..<scales.rows {
      scales[group, row] = 1
      zeros[group, row] = 0
    }
  }

  /// Writes a row's codes.
  func copyCodes(row: Int, into target: UnsafeMutableBufferPointer<UInt8>) {
    codes.withUnsafeBufferPointer { codes in
      for column in 0..<size { target[column] = UInt8(codes[column * Self.height + row]) }
    }
  }

  /// The scale of a group as it is stored.
  func scaleBits(row: Int, group: Int) -> UInt16 { Float16(scales[group, row]).bitPattern }

  /// The zero point of a group.
  func zeroPoint(row: Int, group: Int) -> UInt8 { UInt8(zeros[group, row]) }

  // MARK: Steps

  /// GPTQ: rounds input features in ``InputCurvature/order``, each to the nearest value after
  /// the errors of those before it are fed forward: `ŵ_k = q(w_k + Σ_{j<k} e_j M_jk)`.
  func feedForward() {
    let height = Self.height
    Buffers(self).run { b in
      for (place, column) in curvature.order.enumerated() {
        copy(b.weights + column * height, to: b.work + place * height)
      }
      curvature.feedback.withUnsafeBufferPointer { feedback in
        let m = feedback.baseAddress!
        var begin = 0
        while begin < size {
          let end = min(begin + Self.blockSize, size)
          for place in begin..<end {
            let column = curvature.order[place]
            round(b.work + place * height, column: column, b)
            let error = b.errors + place * height
            for lane in stride(from: 0, to: height, by: Self.lanes) {
              let e =
                load(b.weights + column * height + lane) - load(b.values + column * height + lane)
              store(e, error + lane)
            }
            for later in place + 1..<max(end, place + 1) {
              addScaled(error, m[place * size + later], to: b.work + later * height)
            }
          }
          if end < size {
            // work[rest] += M[block, rest]ᵀ · errors[block]
            cblas_sgemm(
              CblasRowMajor, CblasTrans, CblasNoTrans, Int32(size - end), Int32(height),
              Int32(end - begin), 1, m + begin * size + end, Int32(size),
              b.errors + begin * height, Int32(height), 1, b.work + end * height, Int32(height))
          }
          begin = end
        }
      }
      // gradient = H · (w − ŵ)
      for index in stride(from: 0, to: size * height, by: Self.lanes) {
        store(load(b.weights + index) - load(b.values + index), b.work + index)
      }
      curvature.matrix.withUnsafeBufferPointer { h in
        cblas_sgemm(
          CblasRowMajor, CblasNoTrans, CblasNoTrans, Int32(size), Int32(height), Int32(size), 1,
          h.baseAddress, Int32(size), b.work, Int32(height), 0, b.gradient, Int32(height))
      }
    }
  }

  /// One sweep of coordinate descent: every code in turn becomes the best one while all others
  /// stay. The objective never rises.
  func descend() {
    let height = Self.height
    Buffers(self).run { b in
      curvature.matrix.withUnsafeBufferPointer { matrix in
        let h = matrix.baseAddress!
        var begin = 0
        while begin < size {
          let end = min(begin + Self.blockSize, size)
          for column in begin..<end {
            let inverse = 1 / h[column * size + column]
            let target = b.work + column * height
            for lane in stride(from: 0, to: height, by: Self.lanes) {
              let at = column * height + lane
              store(load(b.values + at) + load(b.gradient + at) * inverse, target + lane)
              store(load(b.values + at), b.errors + at)
            }
            round(target, column: column, b)
            for lane in stride(from: 0, to: height, by: Self.lanes) {
              let at = column * height + lane
              store(load(b.errors + at) - load(b.values + at), b.errors + at)
            }
            // errors now holds the old value minus the new one.
            for other in begin..<end {
              addScaled(
                b.errors + column * height, h[column * size + other],
                to: b.gradient + other * height)
            }
          }
          for (first, last) in [(0, begin), (end, size)] where first < last {
            cblas_sgemm(
              CblasRowMajor, CblasNoTrans, CblasNoTrans, Int32(last - first), Int32(height),
              Int32(end - begin), 1, h + first * size + begin, Int32(size),
              b.errors + begin * height, Int32(height), 1, b.gradient + first * height,
              Int32(height))
          }
          begin = end
        }
      }
    }
  }

  /// Moves the scale of every group in turn to the best one for its codes, where that still helps
  /// after rounding to binary16.
  func refitScales() {
    let height = Self.height
    Buffers(self).run { b in
      curvature.matrix.withUnsafeBufferPointer { matrix in
        let h = matrix.baseAddress!
        for group in 0..<scales.rows {
          let begin = group * groupSize
          let count = min(groupSize, size - begin)
          // errors = codes − zero point; work = H_gg · that.
          for column in begin..<begin + count {
            for lane in stride(from: 0, to: height, by: Self.lanes) {
              store(
                load(b.codes + column * height + lane) - load(b.zeros + group * height + lane),
                b.errors + column * height + lane)
            }
          }
          cblas_sgemm(
            CblasRowMajor, CblasNoTrans, CblasNoTrans, Int32(count), Int32(height), Int32(count), 1,
            h + begin * size + begin, Int32(size), b.errors + begin * height, Int32(height), 0,
            b.work, Int32(height))
          let step = b.work + count * height
          if count < size {
            moveScales(group, begin, count, b, step: step)
          } else {
            // A group as long as the row leaves no room behind the product.
            var space = [Float](repeating: 0, count: height)
            space.withUnsafeMutableBufferPointer {
              moveScales(group, begin, count, b, step: $0.baseAddress!)
            }
          }
          cblas_sgemm(
            CblasRowMajor, CblasNoTrans, CblasNoTrans, Int32(size), Int32(height), Int32(count),
            -1, h + begin, Int32(size), b.errors + begin * height, Int32(height), 1, b.gradient,
            Int32(height))
        }
      }
    }
  }

  /// The move of one group's scales: afterwards `errors` holds the change of `ŵ`.
  private func moveScales(
    _ group: Int, _ begin: Int, _ count: Int, _ b: Buffers, step: UnsafeMutablePointer<Float>
  ) {
    let height = Self.height
    for lane in stride(from: 0, to: height, by: Self.lanes) {
      var numerator = Vector(repeating: 0)
      var denominator = Vector(repeating: 0)
      for column in 0..<count {
        let level = load(b.errors + (begin + column) * height + lane)
        numerator += level * load(b.gradient + (begin + column) * height + lane)
        denominator += level * load(b.work + column * height + lane)
      }
      for row in 0..<Self.lanes {
        let old = b.scales[group * height + lane + row]
        var change: Float = 0
        if denominator[row] > 0 {
          let wanted = min(max(old + numerator[row] / denominator[row], 9.536_743e-07), 65_504)
          let rounded = Float(Float16(wanted))
          let difference = rounded - old
          if difference * (2 * numerator[row] - difference * denominator[row]) > 0 {
            change = difference
            b.scales[group * height + lane + row] = rounded
          }
        }
        step[lane + row] = change
      }
    }
    for column in begin..<begin + count {
      for lane in stride(from: 0, to: height, by: Self.lanes) {
        let at = column * height + lane
        let change = load(b.errors + at) * load(step + lane)
        store(change, b.errors + at)
        // The value is made anew from code and scale, so that it is what will be stored.
        store(
          (load(b.codes + at) - load(b.zeros + group * height + lane))
            * load(b.scales + group * height + lane), b.values + at)
      }
    }
  }

  // MARK: Vectors

  /// Addresses of all matrices.
  private struct Buffers {
    let weights, values, codes, gradient, work, errors, scales, zeros: UnsafeMutablePointer<Float>

    init(_ chunk: RoundingChunk) {
      // The chunk holds the matrices while its own method runs.
      func address(_ matrix: FloatMatrix) -> UnsafeMutablePointer<Float> {
        matrix.withUnsafeMutableBufferPointer { $0.baseAddress! }
      }
      weights = address(chunk.weights)
      values = address(chunk.values)
      codes = address(chunk.codes)
      gradient = address(chunk.gradient)
      work = address(chunk.work)
      errors = address(chunk.errors)
      scales = address(chunk.scales)
      zeros = address(chunk.zeros)
    }

    @inline(__always)
    func run(_ body: (Buffers) -> Void) { body(self) }
  }

  /// Writes code and value nearest to `target`, `[height]`, of one input feature.
  @inline(__always)
  private func round(_ target: UnsafeMutablePointer<Float>, column: Int, _ b: Buffers) {
    let height = Self.height
    let group = column / groupSize
    let top = Vector(repeating: maximumCode)
    let rounding = Vector(repeating: Self.roundingConstant)
    for lane in stride(from: 0, to: height, by: Self.lanes) {
      let scale = load(b.scales + group * height + lane)
      let zero = load(b.zeros + group * height + lane)
      let position = (load(target + lane) / scale + zero)
        .clamped(lowerBound: Vector(repeating: 0), upperBound: top)
      let code = (position + rounding) - rounding
      store(code, b.codes + column * height + lane)
      store((code - zero) * scale, b.values + column * height + lane)
    }
  }

  @inline(__always)
  private func load(_ address: UnsafeMutablePointer<Float>) -> Vector {
    UnsafeRawPointer(address).loadUnaligned(as: Vector.self)
  }

  @inline(__always)
  private func store(_ value: Vector, _ address: UnsafeMutablePointer<Float>) {
    UnsafeMutableRawPointer(address).storeBytes(of: value, as: Vector.self)
  }

  @inline(__always)
  private func copy(
    _ source: UnsafeMutablePointer<Float>, to target: UnsafeMutablePointer<Float>
  ) {
    target.update(from: source, count: Self.height)
  }

  @inline(__always)
  private func addScaled(
    _ source: UnsafeMutablePointer<Float>, _ factor: Float,
    to target: UnsafeMutablePointer<Float>
  ) {
    for lane in stride(from: 0, to: Self.height, by: Self.lanes) {
      store(load(target + lane) + load(source + lane) * factor, target + lane)
    }
  }
}
