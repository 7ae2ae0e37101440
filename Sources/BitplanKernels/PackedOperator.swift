public import BitplanCore

/// All segments of one operator: multiplied in one call, outputs written where they belong.
public struct PackedOperator: Sendable {
  /// Rows of an operator that share a format.
  public struct Segment: Sendable {
    /// The weights, `[rows of this segment, inputFeatures]`.
    public let matrix: PackedMatrix
    /// Output feature of every packed row; `nil` when rows are in place.
    public let rowMap: [UInt32]?
  }

  /// `[outputFeatures, inputFeatures]` of the whole operator.
  public let shape: MatrixShape
  /// The segments; together they hold every output feature exactly once.
  public let segments: [Segment]
  /// How the activations are kept that these weights are multiplied by.
  public var activations = ActivationFormat.int8
  /// What is added to what the segments give; of the operator's shape.
  public var branch: PackedBranch? {
    didSet {
      precondition(branch.map { $0.shape == shape } ?? true, "a branch of the operator's shape")
    }
  }
  /// The segments as kernels read them.
  internal let table: SegmentTable
  /// Segment and packed row of every output feature; empty when there is one segment in place.
  private let places: [(segment: Int32, row: Int32)]

  /// One segment, rows in place.
  public init(_ matrix: PackedMatrix) {
    shape = matrix.shape
    segments = [Segment(matrix: matrix, rowMap: nil)]
    table = SegmentTable(segments)
    places = []
  }

  /// Several segments: packed rows of `matrix` are the output features of `rows`, in order.
  ///
  /// - Throws: ``KernelError/shapeMismatch(_:)`` unless every matrix has the operator's input
  ///   features and as many rows as its ranges name, and the ranges cover every output feature
  ///   exactly once.
  public init(
    shape: MatrixShape, segments: [(matrix: PackedMatrix, rows: [Range<Int>])]
  ) throws(KernelError) {
    var places = [(segment: Int32, row: Int32)](
      repeating: (-1, -1), count: shape.outputFeatures)
    var result: [Segment] = []
    for (index, segment) in segments.enumerated() {
      let matrix = segment.matrix
      guard matrix.shape.inputFeatures == shape.inputFeatures else {
        throw .shapeMismatch(
          "Segment \(index) has \(matrix.shape.inputFeatures) input features, its operator "
            + "\(shape.inputFeatures): all segments of an operator have the operator's.")
      }
      var map: [UInt32] = []
      map.reserveCapacity(matrix.shape.outputFeatures)
      for range in segment.rows {
        guard range.lowerBound >= 0, range.upperBound <= shape.outputFeatures else {
          throw .shapeMismatch(
            "Segment \(index) names output features \(range), the operator has "
              + "\(shape.outputFeatures): ranges must lie inside the operator.")
        }
        for feature in range {
          guard places[feature].segment < 0 else {
            throw .shapeMismatch(
              "Output feature \(feature) is in segment \(places[feature].segment) and again in "
                + "segment \(index): every output feature belongs to exactly one segment.")
          }
          places[feature] = (Int32(index), Int32(truncatingIfNeeded: map.count))
          map.append(UInt32(truncatingIfNeeded: feature))
        }
      }
      guard map.count == matrix.shape.outputFeatures else {
        throw .shapeMismatch(
          "Segment \(index) holds \(matrix.shape.outputFeatures) rows, but its ranges name "
            + "\(map.count) output features: the counts must be equal.")
      }
      let inPlace = map.indices.allSatisfy { map[$0] == UInt32(truncatingIfNeeded: $0) }
      result.append(Segment(matrix: matrix, rowMap: inPlace ? nil : map))
    }
    if let missing = places.firstIndex(where: { $0.segment < 0 }) {
      throw .shapeMismatch(
        "Output feature \(missing) is in no segment: the segments must cover all "
          + "\(shape.outputFeatures) output features.")
    }
    self.shape = shape
    self.segments = result
    table = SegmentTable(result)
    self.places = places
  }

  /// Writes the dequantized rows `indices` to the first `indices.count` rows of `output`
  /// (embedding lookup).
  ///
  /// `output` must have at least `indices.count` rows and `inputFeatures` columns; every index must
  /// be below `outputFeatures`.
  public func lookUp(_ indices: [Int], into output: FloatMatrix) {
    precondition(
      output.columns == shape.inputFeatures && output.rows >= indices.count,
      "looking up \(indices.count) rows of \(shape) needs an output of that size, not "
        + "\(output.rows)×\(output.columns)")
    write(zip(indices, 0...), to: output)
  }

  /// Writes some rows, dequantized, to the same rows of `output`; the others stay.
  public func restore(_ rows: [Int], in output: FloatMatrix) {
    precondition(
      output.columns == shape.inputFeatures && output.rows == shape.outputFeatures,
      "restoring rows of \(shape) needs a matrix of that size")
    write(zip(rows, rows), to: output)
  }

  private func write(_ rowsAndPlaces: some Sequence<(Int, Int)>, to output: FloatMatrix) {
    let rowsAndPlaces = Array(rowsAndPlaces)
    output.withUnsafeMutableBufferPointer { buffer in
      guard let base = buffer.baseAddress else { return }
      for (index, position) in rowsAndPlaces {
        precondition(
          index >= 0 && index < shape.outputFeatures,
          "row \(index) of \(shape.outputFeatures) does not exist")
        let place = places.isEmpty ? (segment: 0, row: Int32(index)) : places[index]
        segments[Int(place.segment)].matrix.dequantizeRow(
          Int(place.row), to: base + position * shape.inputFeatures)
      }
      branch?.add(rowsAndPlaces, to: base)
    }
  }

  /// All weights, dequantized, row-major `[outputFeatures, inputFeatures]`.
  public func dequantized() -> FloatMatrix {
    let result = FloatMatrix(rows: shape.outputFeatures, columns: shape.inputFeatures)
    lookUp(Array(0..<shape.outputFeatures), into: result)
    return result
  }
}
