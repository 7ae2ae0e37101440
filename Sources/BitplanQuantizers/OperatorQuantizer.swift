public import BitplanCore
public import BitplanKernels

/// What is known of an operator's input when its codes are sought.
public struct InputStatistics: Sendable {
  /// `E[x_k²]` for every input feature; `nil` for a table that is only looked up.
  public let meanSquares: [Float]?
  /// The whole curvature; `nil` where none was gathered. It may be read from disk each time: hold
  /// on to it while it is in use.
  public var curvature: InputCurvature? { load?() }
  private let load: (@Sendable () -> InputCurvature)?

  /// Makes statistics.
  public init(meanSquares: [Float]?, curvature: InputCurvature?) {
    self.meanSquares = meanSquares
    if let curvature { load = { curvature } } else { load = nil }
  }

  /// Makes statistics whose curvature is somewhere else until it is asked for.
  package init(meanSquares: [Float]?, loading: (@Sendable () -> InputCurvature)?) {
    self.meanSquares = meanSquares
    load = loading
  }
}

/// The one way from float weights to codes: measuring, packing and validating all use it, so a plan
/// is packed with the codes that its sensitivity was measured with.
public struct OperatorQuantizer: Sendable {
  /// How codes are found.
  public enum Method: String, Sendable, CaseIterable {
    /// Each weight to its nearest code, on grids from the smallest weight to the largest.
    case minMax = "minmax"
    /// Each weight to its nearest code, on grids of a clip search.
    case roundToNearest = "rtn"
    /// GPTQ where a curvature is known, else the nearest code.
    case feedbackAlone = "gptq-alone"
    /// GPTQ and coordinate descent where a curvature is known, else the nearest code.
    case errorFeedback = "gptq"
    /// `bcq2_g128` by ``SplitBinarization`` without salient columns; other formats as
    /// ``errorFeedback``.
    case splitBinarization = "billm"

    /// The name in a sensitivity's provenance.
    public var provenance: String {
      switch self {
      case .minMax: "round-to-nearest"
      case .roundToNearest: RoundToNearest.name
      case .feedbackAlone: "gptq"
      case .errorFeedback: ErrorFeedback.name
      case .splitBinarization: "billm, " + ErrorFeedback.name
      }
    }

    /// Whether codes are sought under ``InputStatistics/curvature``.
    public var usesCurvature: Bool {
      switch self {
      case .minMax, .roundToNearest: false
      case .feedbackAlone, .errorFeedback, .splitBinarization: true
      }
    }

    /// The method that a sensitivity's provenance names.
    public init?(provenance: String) {
      guard let method = Self.allCases.first(where: { $0.provenance == provenance }) else {
        return nil
      }
      self = method
    }
  }

  /// How codes are found.
  public let method: Method
  /// The threads it works on.
  public let pool: ThreadPool
  private let nearest: RoundToNearest
  private let feedback: ErrorFeedback

  /// Quantizes on the threads of `pool`.
  public init(_ method: Method, pool: ThreadPool) {
    self.method = method
    self.pool = pool
    nearest = RoundToNearest(pool: pool, clips: method != .minMax)
    feedback = ErrorFeedback(pool: pool, refinements: method == .feedbackAlone ? 0 : nil)
  }

  /// Codes for the rows in `rows`, in that order: one segment.
  ///
  /// - Parameters:
  ///   - weights: `[outputFeatures, inputFeatures]`, finite.
  ///   - rows: all rows when `nil`.
  public func quantize(
    _ weights: FloatMatrix, rows: [Range<Int>]? = nil, as format: WeightFormat,
    _ statistics: InputStatistics
  ) -> QuantizedWeights {
    let rows = rows ?? [0..<weights.rows]
    if method.usesCurvature, format.coding != .float16,
      let curvature = statistics.curvature
    {
      if method == .splitBinarization, format == SplitBinarization.format {
        // Thresholds are the whole matrix's, so that a row has the same codes in any segment.
        return SplitBinarization(weights, curvature: curvature, salientLimit: 0).rows(rows)
      }
      return feedback.quantize(
        weights, rows: rows, as: format, curvature: curvature,
        meanSquaredInput: statistics.meanSquares)
    }
    return nearest.quantize(
      weights, rows: rows, as: format, meanSquaredInput: statistics.meanSquares)
  }
}
