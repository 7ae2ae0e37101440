import BitplanKernels

/// Row-wise normalisations, residual sums and biases.
enum Normalization {
  /// RMSNorm (Zhang and Sennrich 2019, arXiv:1910.07467): `out = weight · x / √(mean x² + ε)`.
  ///
  /// - Parameters:
  ///   - x: `[≥ rows.upperBound, width]`.
  ///   - rows: the rows to normalise, written to rows `0..<rows.count` of `out`.
  static func rms(
    _ x: FloatMatrix, rows: Range<Int>, weight: FloatMatrix, epsilon: Float, into out: FloatMatrix,
    _ pool: ThreadPool
  ) {
    let width = x.columns
    RowWork.forEach(rows.count, elementsPerRow: width * 2, pool) { part in
      withAddresses(x, weight, out) { x, weight, out in
        for index in part {
          VectorOperations.rmsNorm(
            UnsafeBufferPointer(start: x + (rows.lowerBound + index) * width, count: width),
            weight: UnsafeBufferPointer(start: weight, count: width), eps: epsilon,
            into: UnsafeMutableBufferPointer(start: out + index * width, count: width))
        }
      }
    }
  }

  /// LayerNorm (Ba, Kiros, Hinton 2016, arXiv:1607.06450):
  /// `out = weight · (s − mean s) / √(var s + ε) + bias`.
  ///
  /// - Parameters:
  ///   - sum: `[≥ count, width]`: `s` without the residual; holds `s` afterwards.
  ///   - residual: `[≥ count, width]`, added to `sum` first, or `nil` for none.
  ///   - out: `[≥ count, width]`; may be `residual`.
  static func layer(
    _ sum: FloatMatrix, adding residual: FloatMatrix?, count: Int, weight: FloatMatrix,
    bias: FloatMatrix, epsilon: Float, into out: FloatMatrix, _ pool: ThreadPool
  ) {
    let width = sum.columns
    RowWork.forEach(count, elementsPerRow: width * 4, pool) { part in
      withAddresses(sum, residual ?? sum, weight, bias) { sum, source, weight, bias in
        out.withAddress { out in
          for index in part {
            let row = sum + index * width
            let target = out + index * width
            if residual != nil { VectorMath.add(source + index * width, to: row, width) }
            VectorOperations.layerNorm(
              UnsafeBufferPointer(start: row, count: width),
              weight: UnsafeBufferPointer(start: weight, count: width),
              bias: UnsafeBufferPointer(start: bias, count: width), eps: epsilon,
              into: UnsafeMutableBufferPointer(start: target, count: width))
          }
        }
      }
    }
  }

  /// Mean and (biased) variance of a row, in two passes so that a large mean costs no digits.
  @inline(__always)
  static func meanAndVariance(_ row: UnsafePointer<Float>, _ count: Int) -> (Float, Float) {
    var sum = Lanes(repeating: 0)
    var index = 0
    while index + 8 <= count {
      sum += VectorMath.load(row, index)
      index += 8
    }
    var total = VectorMath.horizontalSum(sum)
    while index < count {
      total += row[index]
      index += 1
    }
    let mean = total / Float(count)
    var squares = Lanes(repeating: 0)
    index = 0
    while index + 8 <= count {
      let centred = VectorMath.load(row, index) - mean
      squares += centred * centred
      index += 8
    }
    var variance = VectorMath.horizontalSum(squares)
    while index < count {
      variance += (row[index] - mean) * (row[index] - mean)
      index += 1
    }
    return (mean, variance / Float(count))
  }

  /// `out = a + b` for the first `count` rows; `out` may be one of the two.
  static func add(
    _ a: FloatMatrix, _ b: FloatMatrix, into out: FloatMatrix, count: Int, _ pool: ThreadPool
  ) {
    let width = out.columns
    RowWork.forEach(count, elementsPerRow: width, pool) { part in
      withAddresses(a, b, out) { a, b, out in
        let offset = part.lowerBound * width
        VectorMath.add(a + offset, b + offset, into: out + offset, part.count * width)
      }
    }
  }

  /// Adds `bias` `[1, columns]` to the first `count` rows of `y`.
  static func addBias(_ bias: FloatMatrix?, to y: FloatMatrix, count: Int, _ pool: ThreadPool) {
    guard let bias else { return }
    let width = y.columns
    RowWork.forEach(count, elementsPerRow: width, pool) { part in
      withAddresses(bias, y) { bias, y in
        for row in part { VectorMath.add(bias, to: y + row * width, width) }
      }
    }
  }
}
