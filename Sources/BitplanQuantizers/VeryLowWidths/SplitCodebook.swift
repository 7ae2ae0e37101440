public import BitplanCore
public import BitplanKernels

/// One codebook of three even runs for a whole operator: what the three layers of SplitQuant (Song
/// et al. 2025, arXiv:2501.12428) add up to.
///
/// Weights fall into three clusters by k-means; each cluster has the even grid of `2^bitWidth` codes
/// from its smallest weight to its largest. SplitQuant keeps a layer for every cluster, zeros
/// elsewhere; stored once, a weight is a place among `3 · 2^bitWidth` levels.
public struct SplitCodebook: Sendable {
  /// `[outputFeatures, inputFeatures]` of the operator.
  public let shape: MatrixShape
  /// Bits of a code within its cluster.
  public let bitWidth: Int
  /// Place among the levels, `[outputFeatures · inputFeatures]`: cluster · 2^bitWidth + code.
  public let codes: [UInt16]
  /// The scale of each cluster, values of binary16.
  public let scales: [Float]
  /// The code that would mean 0 in each cluster; often outside the cluster's codes.
  public let zeroPoints: [Int]

  private static let clusterCount = 3
  private static let iterations = 100

  /// Finds clusters and codes of weights `[outputFeatures, inputFeatures]`, finite.
  ///
  /// - Parameter bitWidth: 2 to 8.
  public init(_ weights: FloatMatrix, bitWidth: Int) {
    precondition((2...8).contains(bitWidth), "2 to 8 bits a cluster")
    shape = MatrixShape(outputFeatures: weights.rows, inputFeatures: weights.columns)
    self.bitWidth = bitWidth
    let values = weights.values
    let sorted = values.sorted()
    let cuts = Self.cuts(sorted)
    let steps = Float((1 << bitWidth) - 1)
    var (scales, zeros) = ([Float](), [Int]())
    for (begin, end) in zip([0] + cuts, cuts + [sorted.count]) {
      let (low, high) = begin < end ? (sorted[begin], sorted[end - 1]) : (0, 0)
      // As in GroupGrid: neither a scale of next to no precision nor an infinite one.
      let scale = Float(Float16(min(max((high - low) / steps, 9.536_743e-07), 65_504)))
      scales.append(scale)
      zeros.append(Int((-low / scale).rounded()))
    }
    let firsts = cuts.map { $0 < sorted.count ? sorted[$0] : .infinity }
    codes = values.map { weight in
      let cluster = weight < firsts[0] ? 0 : weight < firsts[1] ? 1 : 2
      let code = (weight / scales[cluster]).rounded() + Float(zeros[cluster])
      return UInt16(cluster << bitWidth) + UInt16(min(max(code, 0), steps))
    }
    (self.scales, zeroPoints) = (scales, zeros)
  }

  /// Where the second and the third cluster begin in the sorted weights: Lloyd's iteration from
  /// thirds.
  private static func cuts(_ sorted: [Float]) -> [Int] {
    var sums = [0.0]
    for value in sorted { sums.append(sums[sums.count - 1] + Double(value)) }
    var cuts = (1..<clusterCount).map { sorted.count * $0 / clusterCount }
    for _ in 0..<iterations {
      let means = zip([0] + cuts, cuts + [sorted.count]).map { begin, end in
        (sums[end] - sums[begin]) / Double(max(1, end - begin))
      }
      let next = zip(means, means.dropFirst()).map { a, b in
        Self.firstIndex(in: sorted, notBelow: (a + b) / 2)
      }
      guard next != cuts else { break }
      cuts = next
    }
    return cuts
  }

  private static func firstIndex(in sorted: [Float], notBelow value: Double) -> Int {
    var (low, high) = (0, sorted.count)
    while low < high {
      let middle = (low + high) / 2
      if Double(sorted[middle]) < value { low = middle + 1 } else { high = middle }
    }
    return low
  }

  /// Bits that a place among the levels takes: the base-2 logarithm of their number, rounded up.
  public var bitsPerCode: Int { bitWidth + 2 }

  /// Bytes: whole bytes of codes a row; a binary16 scale and a 32-bit zero point a cluster.
  public var storedBytes: Int {
    shape.outputFeatures * ((shape.inputFeatures * bitsPerCode + 7) / 8)
      + Self.clusterCount * (2 + 4)
  }

  /// The weights that codes stand for, `[outputFeatures, inputFeatures]`.
  public var restored: FloatMatrix {
    let mask = UInt16((1 << bitWidth) - 1)
    return FloatMatrix(
      rows: shape.outputFeatures, columns: shape.inputFeatures,
      values: codes.map { code in
        let cluster = Int(code >> UInt16(bitWidth))
        return scales[cluster] * Float(Int(code & mask) - zeroPoints[cluster])
      })
  }
}
