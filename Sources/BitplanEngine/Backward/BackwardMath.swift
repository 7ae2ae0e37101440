import BitplanKernels

/// Reverse mode of the row-wise operations.
enum BackwardMath {
  /// Adds RMSNorm's input gradient to `dx`.
  ///
  /// With `r = (mean x² + ε)^−½` and `y = w · x · r`:
  /// `dx += r · (w·dy − x · r² · mean(w·dy·x))`.
  static func rms(
    _ x: FloatMatrix, weight: FloatMatrix, epsilon: Float, outputGradient: FloatMatrix,
    addTo inputGradient: FloatMatrix, count: Int, _ pool: ThreadPool
  ) {
    let width = x.columns
    RowWork.forEach(count, elementsPerRow: width * 4, pool) { part in
      withAddresses(x, weight, outputGradient, inputGradient) { x, weight, dy, dx in
        for row in part {
          let (x, dy, dx) = (x + row * width, dy + row * width, dx + row * width)
          let r = 1 / (VectorMath.dot(x, x, width) / Float(width) + epsilon).squareRoot()
          var sum: Float = 0
          for column in 0..<width { sum += weight[column] * dy[column] * x[column] }
          let share = r * r * sum / Float(width)
          for column in 0..<width {
            dx[column] += r * (weight[column] * dy[column] - x[column] * share)
          }
        }
      }
    }
  }

  /// Gradient of RMSNorm's weight: `Σ dy · x · r`.
  static func rmsWeight(
    _ x: FloatMatrix, epsilon: Float, outputGradient: FloatMatrix, count: Int
  ) -> [Float] {
    let width = x.columns
    var result = [Float](repeating: 0, count: width)
    withAddresses(x, outputGradient) { x, dy in
      for row in 0..<count {
        let (x, dy) = (x + row * width, dy + row * width)
        let r = 1 / (VectorMath.dot(x, x, width) / Float(width) + epsilon).squareRoot()
        for column in 0..<width { result[column] += dy[column] * x[column] * r }
      }
    }
    return result
  }

  /// LayerNorm's input gradient; `inputGradient` may be `outputGradient`.
  ///
  /// With `x̂ = (s − mean s) · r`, `r = (var s + ε)^−½`:
  /// `ds = r · (w·dy − mean(w·dy) − x̂ · mean(w·dy·x̂))`.
  static func layerNorm(
    _ sum: FloatMatrix, weight: FloatMatrix, epsilon: Float, outputGradient: FloatMatrix,
    into inputGradient: FloatMatrix, count: Int, _ pool: ThreadPool
  ) {
    let width = sum.columns
    RowWork.forEach(count, elementsPerRow: width * 6, pool) { part in
      withAddresses(sum, weight, outputGradient, inputGradient) { sum, weight, dy, ds in
        for row in part {
          let (s, dy, ds) = (sum + row * width, dy + row * width, ds + row * width)
          let (mean, variance) = Normalization.meanAndVariance(s, width)
          let r = 1 / (variance + epsilon).squareRoot()
          var (first, second): (Float, Float) = (0, 0)
          for column in 0..<width {
            let scaled = weight[column] * dy[column]
            first += scaled
            second += scaled * (s[column] - mean) * r
          }
          first /= Float(width)
          second /= Float(width)
          for column in 0..<width {
            ds[column] =
              r * (weight[column] * dy[column] - first - (s[column] - mean) * r * second)
          }
        }
      }
    }
  }

  /// Gradient of LayerNorm's weight: `Σ dy · x̂`. Its bias gets ``columnSums(_:count:)`` of `dy`.
  static func layerNormWeight(
    _ sum: FloatMatrix, epsilon: Float, outputGradient: FloatMatrix, count: Int
  ) -> [Float] {
    let width = sum.columns
    var result = [Float](repeating: 0, count: width)
    withAddresses(sum, outputGradient) { sum, dy in
      for row in 0..<count {
        let (s, dy) = (sum + row * width, dy + row * width)
        let (mean, variance) = Normalization.meanAndVariance(s, width)
        let r = 1 / (variance + epsilon).squareRoot()
        for column in 0..<width { result[column] += dy[column] * (s[column] - mean) * r }
      }
    }
    return result
  }

  /// SwiGLU's product `silu(gate) · up`: `gradient` holds its output gradient and becomes the
  /// gate's; `upGradient` becomes up's.
  static func gatedSilu(
    gate: FloatMatrix, up: FloatMatrix, gradient: FloatMatrix, upGradient: FloatMatrix, count: Int,
    _ pool: ThreadPool
  ) {
    let width = gate.columns
    RowWork.forEach(count, elementsPerRow: 14 * width, pool) { part in
      withAddresses(gate, up, gradient, upGradient) { gate, up, gradient, upGradient in
        for row in part {
          let offset = row * width
          forEachLanes(width) { index, lanes in
            let g = load(gate + offset, index, lanes)
            let u = load(up + offset, index, lanes)
            let dy = load(gradient + offset, index, lanes)
            let sigmoid = VectorMath.sigmoid(g)
            let silu = g * sigmoid
            // (g·σ)' = σ + g·σ·(1 − σ)
            store(dy * u * (sigmoid + silu * (1 - sigmoid)), gradient + offset, index, lanes)
            store(dy * silu, upGradient + offset, index, lanes)
          }
        }
      }
    }
  }

  /// GELU: `gradient` holds the output gradient and becomes the input's, times `Φ(x) + x·φ(x)`.
  static func gelu(_ x: FloatMatrix, gradient: FloatMatrix, count: Int, _ pool: ThreadPool) {
    let width = x.columns
    RowWork.forEach(count, elementsPerRow: 24 * width, pool) { part in
      withAddresses(x, gradient) { x, gradient in
        for row in part {
          let offset = row * width
          forEachLanes(width) { index, lanes in
            let value = load(x + offset, index, lanes)
            let density = VectorMath.exp(value * value * -0.5) * 0.398_942_28
            let slope = VectorMath.normalDistribution(value) + value * density
            store(load(gradient + offset, index, lanes) * slope, gradient + offset, index, lanes)
          }
        }
      }
    }
  }

  /// Sum of the first `count` rows.
  static func columnSums(_ matrix: FloatMatrix, count: Int) -> [Float] {
    let width = matrix.columns
    var result = [Float](repeating: 0, count: width)
    result.withUnsafeMutableBufferPointer { result in
      guard let sums = result.baseAddress else { return }
      matrix.withAddress { matrix in
        for row in 0..<count { VectorMath.add(matrix + row * width, to: sums, width) }
      }
    }
    return result
  }

  @inline(__always)
  private static func forEachLanes(_ count: Int, _ body: (Int, Int) -> Void) {
    VectorMath.forEachVector(count, body)
  }

  @inline(__always)
  private static func load(_ address: Floats, _ index: Int, _ lanes: Int) -> Lanes {
    lanes == 8 ? VectorMath.load(address, index) : VectorMath.loadTail(address, index, lanes)
  }

  @inline(__always)
  private static func store(_ value: Lanes, _ address: Floats, _ index: Int, _ lanes: Int) {
    if lanes == 8 {
      VectorMath.store(value, address, index)
    } else {
      VectorMath.storeTail(value, address, index, lanes)
    }
  }
}
