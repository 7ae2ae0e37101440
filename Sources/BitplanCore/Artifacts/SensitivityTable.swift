/// What each (operator, format) costs in accuracy.
public struct SensitivityTable: Hashable, Sendable, Codable {
  /// The major version this code reads and writes.
  public static let supportedSchemaVersion = 1

  /// The unit of every value in the table.
  public enum Metric: String, Hashable, Sendable, Codable {
    /// KL(reference ‖ quantized) of next-token distributions, nats per token: language models.
    case klDivergenceNatsPerToken
    /// 1 − cosine similarity of pooled sentence embeddings: encoders.
    case cosineDistance
  }

  /// The calibration tokens.
  public struct Calibration: Hashable, Sendable, Codable {
    /// File name or description.
    public let name: String
    /// SHA-256 of the token ids used.
    public let sha256: String
    /// Windows (sequences).
    public let windowCount: Int
    /// Tokens of one window.
    public let windowTokens: Int

    /// Makes a description of calibration tokens.
    public init(name: String, sha256: String, windowCount: Int, windowTokens: Int) {
      self.name = name
      self.sha256 = sha256
      self.windowCount = windowCount
      self.windowTokens = windowTokens
    }
  }

  /// How the table was estimated.
  public struct Options: Hashable, Sendable, Codable {
    /// The method's stable name.
    public let method: String
    /// Seed of every random choice.
    public let seed: UInt64
    /// Forward passes with random masks.
    public let passCount: Int
    /// Candidate formats.
    public let formats: [WeightFormat]
    /// How codes were found, such as `round-to-nearest+clip`: another quantizer needs another table.
    public let quantizer: String
    /// Which transforms were asked for, such as `auto`; `nil` for none.
    public let transforms: String?
    /// Candidate side branches, ascending; `nil` for none.
    public let branches: [SideBranch]?

    /// Makes options.
    public init(
      method: String, seed: UInt64, passCount: Int, formats: [WeightFormat], quantizer: String,
      transforms: String? = nil, branches: [SideBranch]? = nil
    ) {
      self.method = method
      self.seed = seed
      self.passCount = passCount
      self.formats = formats
      self.quantizer = quantizer
      self.transforms = transforms
      self.branches = branches
    }
  }

  /// One cell: an operator in a format, everything else in reference precision.
  public struct Entry: Hashable, Sendable, Codable {
    /// The format.
    public let format: WeightFormat
    /// Predicted rise of the metric, or `nil` where it was not measured (which is not zero).
    public let value: Double?
    /// Standard error of ``value``.
    public let standardError: Double?
    /// Activation-weighted squared output error relative to the output, mean over tokens: the prior.
    public let relativeOutputError: Double

    /// Makes an entry.
    public init(
      format: WeightFormat, value: Double?, standardError: Double?, relativeOutputError: Double
    ) {
      self.format = format
      self.value = value
      self.standardError = standardError
      self.relativeOutputError = relativeOutputError
    }
  }

  /// The losses of one operator's rows, in bands of a few rows.
  ///
  /// Rows are ranked by salience, so that a band holds rows that matter about equally; a plan may
  /// give every band a format of its own.
  public struct Bands: Hashable, Sendable, Codable {
    /// Rows of a band; the last one holds what is left.
    public let height: Int
    /// Every output feature once, the most salient first. Band `b` holds places
    /// `height·b ..< height·(b + 1)`.
    public let rowOrder: [Int]
    /// Predicted loss of every band when it alone takes a format, `[formats][bands]`, in the order
    /// of ``Options/formats``; a format's losses add up to its entry's value.
    public let losses: [[Double]]

    /// Makes bands.
    public init(height: Int, rowOrder: [Int], losses: [[Double]]) {
      self.height = height
      self.rowOrder = rowOrder
      self.losses = losses
    }

    /// Bands of all rows.
    public var count: Int { (rowOrder.count + height - 1) / height }

    /// Rows of a band.
    public func rowCount(_ band: Int) -> Int { min(height, rowOrder.count - band * height) }

    /// The height that keeps an operator of `rows` output features to 256 bands where a tile's
    /// height allows it: a power of two.
    public static func height(rows: Int) -> Int {
      var height = 1
      while height < PackedLayout.tileHeight, height * 256 < rows { height *= 2 }
      return height
    }
  }

  /// All formats of one operator.
  public struct Row: Hashable, Sendable, Codable {
    /// The operator.
    public let operatorDescription: OperatorDescription
    /// One entry a format, in the order of ``Options/formats``.
    public let entries: [Entry]
    /// The operator's rows, where they may take different formats.
    public let bands: Bands?
    /// The operator with each side branch that fits it.
    public let branches: [Branched]?

    /// Makes a row.
    public init(
      operatorDescription: OperatorDescription, entries: [Entry], bands: Bands? = nil,
      branches: [Branched]? = nil
    ) {
      self.operatorDescription = operatorDescription
      self.entries = entries
      self.bands = bands
      self.branches = branches
    }
  }

  /// What an operator's formats cost beside a side branch.
  public struct Branched: Hashable, Sendable, Codable {
    /// The branch.
    public let branch: SideBranch
    /// Predicted loss of every band of ``Row/bands``, `[formats][bands]`, in the order of
    /// ``Options/formats``.
    public let losses: [[Double]]

    /// Makes losses.
    public init(branch: SideBranch, losses: [[Double]]) {
      self.branch = branch
      self.losses = losses
    }
  }

  /// Major version of the file's layout.
  public var schemaVersion: Int
  /// The model that was measured.
  public var model: ModelIdentity
  /// The unit of every value.
  public var metric: Metric
  /// The calibration tokens.
  public var calibration: Calibration
  /// How the table was estimated.
  public var options: Options
  /// The metric with 8-bit activations and float weights: paid once by any quantized plan.
  public var activationCost: Double
  /// Masked passes that were made, where fewer than ``Options/passCount`` sufficed: the plans that
  /// the table leads to had stopped changing.
  public var passesMade: Int?
  /// What of ``activationCost`` each operator's input causes, in the order of ``rows``; absent where
  /// the method cannot tell.
  public var activationCosts: [Double]?
  /// The metric with keys and values in fewer bits and everything else in float; empty or absent
  /// where there is no KV cache.
  public var keyValueCosts: [Plan.KeyValueCache]?
  /// One row an operator, in the model's order.
  public var rows: [Row]
  /// Equivalence transforms of the model that was measured, in their order.
  public var transforms: [EquivalenceTransform]?

  /// Makes a table.
  public init(
    model: ModelIdentity, metric: Metric, calibration: Calibration, options: Options,
    activationCost: Double, rows: [Row], transforms: [EquivalenceTransform]? = nil
  ) {
    self.schemaVersion = Self.supportedSchemaVersion
    self.model = model
    self.metric = metric
    self.calibration = calibration
    self.options = options
    self.activationCost = activationCost
    self.rows = rows
    self.transforms = transforms
  }
}

/// Which checkpoint an artifact is about.
public struct ModelIdentity: Hashable, Sendable, Codable {
  /// For people: the folder's or file's name.
  public let name: String
  /// SHA-256 over the checkpoint's tensors (names, shapes, dtypes, bytes).
  public let sha256: String
  /// `model_type` of its configuration, such as `llama` or `bert`.
  public let architecture: String
  /// Weights of all planned operators.
  public let plannedWeightCount: Int

  /// Makes an identity.
  public init(name: String, sha256: String, architecture: String, plannedWeightCount: Int) {
    self.name = name
    self.sha256 = sha256
    self.architecture = architecture
    self.plannedWeightCount = plannedWeightCount
  }
}

extension SensitivityTable.Row {
  /// Predicted loss of a segment of this operator: what its rows' bands say, an equal part of a
  /// band for each of its rows; without bands its share of the rows. `nil` where the format was not
  /// measured.
  ///
  /// - Parameter branch: what the operator keeps beside its codes; `nil` also where it was not measured.
  public func loss(of segment: Plan.Segment, beside branch: SideBranch? = nil) -> Double? {
    guard let position = entries.firstIndex(where: { $0.format == segment.format }),
      let value = entries[position].value
    else { return nil }
    let rowCount = operatorDescription.shape.outputFeatures
    let branched = branch.flatMap { branch in branches?.first { $0.branch == branch } }
    guard branch == nil || branched != nil else { return nil }
    guard let bands else { return value * Double(segment.rowCount) / Double(rowCount) }
    let losses = branched?.losses ?? bands.losses
    guard bands.rowOrder.count == rowCount, losses.indices.contains(position),
      losses[position].count == bands.count
    else { return value * Double(segment.rowCount) / Double(rowCount) }
    var isInSegment = [Bool](repeating: false, count: rowCount)
    for row in segment.rows.joined() where row < rowCount { isInSegment[row] = true }
    var total = 0.0
    for (place, row) in bands.rowOrder.enumerated() where isInSegment[row] {
      let band = place / bands.height
      total += losses[position][band] / Double(bands.rowCount(band))
    }
    return total
  }
}
