internal import BitplanKernels

/// Some rows of an operator while their codes are found, input features first: element `(k, r)` of
/// every matrix is at `k · height + r`, so that rows lie side by side in vectors.
///
/// The objective of a row is `e H eᵀ` with `e = w − ŵ`. Every step either feeds rounding errors
/// forward (GPTQ) or lowers the objective. What values codes stand for is up to the grids.
struct RoundingChunk<Grids: RoundingGrids>: Sendable {
  /// Input features that are rounded between two matrix products.
  private static var blockSize: Int { 16 }
  private static var lanes: Int { Lanes.count }

  /// The grids of the rows.
  let grids: Grids
  private let curvature: InputCurvature
  private let size: Int
  /// `w`, `ŵ`, codes, `H (w − ŵ)`, and two work spaces, `[size][height]` each.
  private let weights: FloatMatrix
  private let values: FloatMatrix
  private let codes: FloatMatrix
  private let gradient: FloatMatrix
  private let work: FloatMatrix
  private let errors: FloatMatrix
  /// The old values of one span minus the new ones, `[span][height]`, and of one parameter, `[height]`.
  private let change: FloatMatrix
  private let step: FloatMatrix

  init(_ curvature: InputCurvature, grids: Grids) {
    precondition(Lanes.height == VectorOperations.productLanes, "products are of whole rows")
    self.curvature = curvature
    self.grids = grids
    let size = curvature.size
    self.size = size
    let matrices = (0..<6).map { _ in FloatMatrix(rows: size, columns: Lanes.height) }
    (weights, values, codes) = (matrices[0], matrices[1], matrices[2])
    (gradient, work, errors) = (matrices[3], matrices[4], matrices[5])
    change = FloatMatrix(rows: min(grids.span, max(1, size)), columns: Lanes.height)
    step = FloatMatrix(rows: 1, columns: Lanes.height)
  }

  // MARK: In and out

  /// Takes a row's weights; its grids are set apart. Rows that are never set stay 0 and cost nothing
  /// but time.
  func set(row: Int, weights source: UnsafeBufferPointer<Float>) {
    weights.withUnsafeMutableBufferPointer { target in
      for column in 0..<size { target[column * Lanes.height + row] = source[column] }
    }
  }

  /// A row whose place no weights take.
  func clear(row: Int) {
    weights.withUnsafeMutableBufferPointer { target in
      for column in 0..<size { target[column * Lanes.height + row] = 0 }
    }
  }

  /// A row's codes.
  func codes(row: Int) -> [UInt8] {
    codes.withUnsafeBufferPointer { codes in
      (0..<size).map { UInt8(codes[$0 * Lanes.height + row]) }
    }
  }

  // MARK: Steps

  /// GPTQ, then `refinements` pairs of a sweep over codes and one over parameters, and one more over
  /// codes.
  func solve(refinements: Int) {
    feedForward()
    for _ in 0..<refinements {
      descend()
      refit()
    }
    if refinements > 0 { descend(isLast: true) }
  }

  /// GPTQ: rounds input features in ``InputCurvature/order``, each to the nearest value after
  /// the errors of those before it are fed forward: `ŵ_k = q(w_k + Σ_{j<k} e_j M_jk)`.
  func feedForward() {
    let height = Lanes.height
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
            grids.round(
              b.work + place * height, column: column, codes: b.codes + column * height,
              values: b.values + column * height)
            let error = b.errors + place * height
            for lane in stride(from: 0, to: height, by: Self.lanes) {
              let e =
                load(b.weights + column * height + lane) - load(b.values + column * height + lane)
              store(e, error + lane)
            }
            add(error, 1, m + place * size, to: b.work, place + 1..<end)
          }
          // work[rest] += M[block, rest]ᵀ · errors[block]
          add(
            b.errors + begin * height, end - begin, m + begin * size, to: b.work, end..<size)
          begin = end
        }
      }
      // gradient = H · (w − ŵ)
      for index in stride(from: 0, to: size * height, by: Self.lanes) {
        store(load(b.weights + index) - load(b.values + index), b.work + index)
      }
      curvature.matrix.withUnsafeBufferPointer { h in
        b.gradient.update(repeating: 0, count: size * height)
        add(b.work, size, h.baseAddress!, to: b.gradient, 0..<size)
      }
    }
  }

  /// One sweep of coordinate descent: every code in turn becomes the best one while all others
  /// stay. The objective never rises.
  ///
  /// - Parameter isLast: the gradient is not needed any more, so it is kept right only for codes that
  ///   are still to come.
  func descend(isLast: Bool = false) {
    let height = Lanes.height
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
            grids.round(
              target, column: column, codes: b.codes + column * height,
              values: b.values + column * height)
            for lane in stride(from: 0, to: height, by: Self.lanes) {
              let at = column * height + lane
              store(load(b.errors + at) - load(b.values + at), b.errors + at)
            }
            // errors now holds the old value minus the new one.
            let first = isLast ? column : begin
            add(b.errors + column * height, 1, h + column * size, to: b.gradient, first..<end)
          }
          for others in isLast ? [end..<size] : [0..<begin, end..<size] {
            add(
              b.errors + begin * height, end - begin, h + begin * size, to: b.gradient, others)
          }
          begin = end
        }
      }
    }
  }

  /// Moves the parameters of every span in turn to the best ones for its codes, where that still
  /// helps after rounding to what is stored. Several parameters take two rounds.
  func refit() {
    let height = Lanes.height
    let span = grids.span
    guard grids.parameterCount > 0 else { return }
    Buffers(self).run { b in
      curvature.matrix.withUnsafeBufferPointer { matrix in
        let h = matrix.baseAddress!
        for (index, begin) in stride(from: 0, to: size, by: span).enumerated() {
          let count = min(span, size - begin)
          b.change.update(repeating: 0, count: count * height)
          for _ in 0..<(grids.parameterCount > 1 ? 2 : 1) {
            for parameter in 0..<grids.parameterCount {
              for column in begin..<begin + count {
                grids.basis(
                  parameter, column: column, codes: b.codes + column * height,
                  into: b.errors + column * height)
              }
              // work = H of the span · basis.
              b.work.update(repeating: 0, count: count * height)
              add(
                b.errors + begin * height, count, h + begin * size + begin, to: b.work, 0..<count)
              move(parameter, span: index, begin, count, b)
            }
          }
          grids.refresh(span: index)
          for column in begin..<begin + count {
            grids.value(
              column: column, codes: b.codes + column * height, into: b.values + column * height)
          }
          for others in [0..<begin, begin + count..<size] {
            add(b.change, count, h + begin * size, to: b.gradient, others)
          }
        }
      }
    }
  }

  /// The move of one parameter of a span: its gradient and `change` follow.
  private func move(_ parameter: Int, span: Int, _ begin: Int, _ count: Int, _ b: Buffers) {
    let height = Lanes.height
    let numbers = grids.parameters(parameter, span: span)
    for lane in stride(from: 0, to: height, by: Self.lanes) {
      var numerator = Lanes.Vector(repeating: 0)
      var denominator = Lanes.Vector(repeating: 0)
      for column in 0..<count {
        let basis = load(b.errors + (begin + column) * height + lane)
        numerator += basis * load(b.gradient + (begin + column) * height + lane)
        denominator += basis * load(b.work + column * height + lane)
      }
      for row in 0..<Self.lanes {
        let old = numbers[lane + row]
        b.step[lane + row] = 0
        guard denominator[row] > 0 else { continue }
        let rounded = grids.stored(
          old + numerator[row] / denominator[row], parameter: parameter, span: span,
          row: lane + row)
        let difference = rounded - old
        if difference * (2 * numerator[row] - difference * denominator[row]) > 0 {
          b.step[lane + row] = difference
          numbers[lane + row] = rounded
        }
      }
    }
    for column in 0..<count {
      for lane in stride(from: 0, to: height, by: Self.lanes) {
        let (inside, whole) = (column * height + lane, (begin + column) * height + lane)
        let step = load(b.step + lane)
        store(load(b.change + inside) - load(b.errors + whole) * step, b.change + inside)
        store(load(b.gradient + whole) - load(b.work + inside) * step, b.gradient + whole)
      }
    }
  }

  // MARK: Products

  /// `target[rows] += factors[k, rows]ᵀ · source[k]` for `depth` rows of the source: what changes of
  /// some input features do to others. `factors` are as many rows of the curvature, whose rows are its
  /// columns too, or of its factor.
  private func add(
    _ source: UnsafePointer<Float>, _ depth: Int, _ factors: UnsafePointer<Float>,
    to target: UnsafeMutablePointer<Float>, _ rows: Range<Int>
  ) {
    VectorOperations.addProducts(
      factors + rows.lowerBound, stride: size, of: source, depth: depth,
      into: target + rows.lowerBound * Lanes.height, count: rows.count)
  }

  // MARK: Vectors

  /// Addresses of all matrices.
  private struct Buffers {
    let weights, values, codes, gradient, work, errors, change, step: UnsafeMutablePointer<Float>

    init(_ chunk: RoundingChunk) {
      // The chunk holds the matrices while its own method runs.
      weights = Lanes.address(chunk.weights)
      values = Lanes.address(chunk.values)
      codes = Lanes.address(chunk.codes)
      gradient = Lanes.address(chunk.gradient)
      work = Lanes.address(chunk.work)
      errors = Lanes.address(chunk.errors)
      change = Lanes.address(chunk.change)
      step = Lanes.address(chunk.step)
    }

    @inline(__always)
    func run(_ body: (Buffers) -> Void) { body(self) }
  }

  @inline(__always)
  private func load(_ address: UnsafeMutablePointer<Float>) -> Lanes.Vector { Lanes.load(address) }

  @inline(__always)
  private func store(_ value: Lanes.Vector, _ address: UnsafeMutablePointer<Float>) {
    Lanes.store(value, address)
  }

  @inline(__always)
  private func copy(
    _ source: UnsafeMutablePointer<Float>, to target: UnsafeMutablePointer<Float>
  ) {
    target.update(from: source, count: Lanes.height)
  }
}
