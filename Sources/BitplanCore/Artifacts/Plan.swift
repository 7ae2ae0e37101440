/// The format of every segment, what it is predicted to cost, and the proof of how good it is.
public struct Plan: Hashable, Sendable, Codable {
  /// The major version this code reads and writes.
  public static let supportedSchemaVersion = 1

  /// The device the times are for.
  public struct Device: Hashable, Sendable, Codable {
    /// Name of the device profile.
    public let name: String
    /// SHA-256 of the profile file.
    public let profileSHA256: String
    /// Whether a simulator made the numbers.
    public let simulated: Bool

    /// Makes a device reference.
    public init(name: String, profileSHA256: String, simulated: Bool) {
      self.name = name
      self.profileSHA256 = profileSHA256
      self.simulated = simulated
    }
  }

  /// The sensitivity the losses come from.
  public struct SensitivitySource: Hashable, Sendable, Codable {
    /// SHA-256 of the sensitivity file.
    public let sha256: String
    /// Its metric.
    public let metric: SensitivityTable.Metric
    /// How codes were found while measuring.
    public let quantizer: String

    /// Makes a source.
    public init(sha256: String, metric: SensitivityTable.Metric, quantizer: String) {
      self.sha256 = sha256
      self.metric = metric
      self.quantizer = quantizer
    }
  }

  /// What a plan costs: predicted by the artifacts, or measured by executing it.
  public struct Costs: Hashable, Sendable, Codable {
    /// Stored bits of the planned operators ÷ their weights.
    public var bitsPerWeight: Double
    /// Stored bytes of the planned operators.
    public var storedBytes: Int
    /// Seconds to decode one token.
    public var decodeSecondsPerToken: Double?
    /// Seconds to prefill ``prefillTokens`` tokens.
    public var prefillSeconds: Double?
    /// Tokens that ``prefillSeconds`` is for.
    public var prefillTokens: Int?
    /// Measured only: ``decodeSecondsPerToken`` over what it is at the speed that the machine had when it
    /// was profiled, as the operators alone tell, timed in turn with it. Above 1 the machine was slower.
    public var decodeSlowdown: Double?
    /// The same for ``prefillSeconds``.
    public var prefillSlowdown: Double?
    /// Joules to decode one token, where the device profile tells.
    public var decodeJoulesPerToken: Double?
    /// KL(reference ‖ quantized), nats per token: language models.
    public var klDivergenceNatsPerToken: Double?
    /// Standard error of ``klDivergenceNatsPerToken``.
    public var klDivergenceStandardError: Double?
    /// 1 − cosine similarity to the reference embedding: encoders.
    public var cosineDistance: Double?
    /// Standard error of ``cosineDistance``.
    public var cosineDistanceStandardError: Double?
    /// Perplexity (measured only).
    public var perplexity: Double?
    /// Perplexity of the reference model on the same text (measured only).
    public var referencePerplexity: Double?

    /// Makes costs; what is not known stays `nil`.
    public init(bitsPerWeight: Double, storedBytes: Int) {
      self.bitsPerWeight = bitsPerWeight
      self.storedBytes = storedBytes
    }
  }

  /// A run of output features of one operator that share a format.
  public struct Segment: Hashable, Sendable, Codable {
    /// The format of these rows.
    public let format: WeightFormat
    /// Half-open row ranges `[start, end)`, ascending and disjoint.
    public let rows: [Range<Int>]

    /// Makes a segment.
    public init(format: WeightFormat, rows: [Range<Int>]) {
      self.format = format
      self.rows = rows
    }

    /// Rows in this segment.
    public var rowCount: Int { rows.reduce(0) { $0 + $1.count } }

    private enum CodingKeys: String, CodingKey { case format, rows }

    /// Decodes `[[start, end], …]`; ranges must be ascending, disjoint and within 32 signed bits.
    public init(from decoder: any Decoder) throws {
      let container = try decoder.container(keyedBy: CodingKeys.self)
      format = try container.decode(WeightFormat.self, forKey: .format)
      var rows: [Range<Int>] = []
      for pair in try container.decode([[Int]].self, forKey: .rows) {
        guard pair.count == 2, pair[0] >= rows.last?.upperBound ?? 0, pair[0] < pair[1],
          pair[1] <= MatrixShape.largestSize
        else {
          throw DecodingError.dataCorruptedError(
            forKey: .rows, in: container,
            debugDescription:
              "row range \(pair) must be [start, end] with 0 ≤ start < end, after the "
              + "range before it")
        }
        rows.append(pair[0]..<pair[1])
      }
      guard !rows.isEmpty else {
        throw DecodingError.dataCorruptedError(
          forKey: .rows, in: container, debugDescription: "a segment must have rows")
      }
      self.rows = rows
    }

    /// Encodes `[[start, end], …]`.
    public func encode(to encoder: any Encoder) throws {
      var container = encoder.container(keyedBy: CodingKeys.self)
      try container.encode(format, forKey: .format)
      try container.encode(rows.map { [$0.lowerBound, $0.upperBound] }, forKey: .rows)
    }
  }

  /// The segments of one operator.
  public struct Assignment: Hashable, Sendable, Codable {
    /// The operator's name.
    public let name: String
    /// Rows.
    public let outputFeatures: Int
    /// Columns.
    public let inputFeatures: Int
    /// Disjoint segments that cover every row.
    public let segments: [Segment]
    /// How the operator's activations are kept; left out of the file where they are `int8`.
    public var activations: ActivationFormat
    /// What is kept beside the codes, if anything.
    public var branch: SideBranch?

    /// Makes an assignment.
    public init(
      name: String, shape: MatrixShape, segments: [Segment], activations: ActivationFormat = .int8,
      branch: SideBranch? = nil
    ) {
      self.name = name
      self.outputFeatures = shape.outputFeatures
      self.inputFeatures = shape.inputFeatures
      self.segments = segments
      self.activations = activations
      self.branch = branch
    }

    private enum CodingKeys: String, CodingKey {
      case name, outputFeatures, inputFeatures, segments, activations, branch
    }

    /// Decodes an assignment; sizes out of range are an error.
    public init(from decoder: any Decoder) throws {
      let container = try decoder.container(keyedBy: CodingKeys.self)
      // Reads and checks the two sizes where they stand.
      let shape = try MatrixShape(from: decoder)
      self.init(
        name: try container.decode(String.self, forKey: .name), shape: shape,
        segments: try container.decode([Segment].self, forKey: .segments),
        activations: try container.decodeIfPresent(ActivationFormat.self, forKey: .activations)
          ?? .int8,
        branch: try container.decodeIfPresent(SideBranch.self, forKey: .branch))
    }

    /// Encodes an assignment.
    public func encode(to encoder: any Encoder) throws {
      var container = encoder.container(keyedBy: CodingKeys.self)
      try container.encode(name, forKey: .name)
      try container.encode(outputFeatures, forKey: .outputFeatures)
      try container.encode(inputFeatures, forKey: .inputFeatures)
      try container.encode(segments, forKey: .segments)
      if activations != .int8 { try container.encode(activations, forKey: .activations) }
      try container.encodeIfPresent(branch, forKey: .branch)
    }

    /// `[outputFeatures, inputFeatures]`.
    public var shape: MatrixShape {
      MatrixShape(outputFeatures: outputFeatures, inputFeatures: inputFeatures)
    }

    /// Whether both are stored in the same bytes: the same formats for the same rows, the same branch.
    public func isStored(as other: Assignment) -> Bool {
      segments == other.segments && branch == other.branch
    }

    /// Exact stored size: every segment packed on its own, a row map where there are several, and the
    /// side branch.
    public var storedBytes: Int {
      let packed = segments.reduce(branch?.storedBytes(shape) ?? 0) { sum, segment in
        let shape = MatrixShape(
          outputFeatures: segment.rowCount, inputFeatures: inputFeatures)
        return sum + segment.format.storedBytes(shape)
      }
      return packed
        + (segments.count > 1
          ? Self.rowMapBytes(outputFeatures: outputFeatures, segmentCount: segments.count) : 0)
    }

    /// Stored size of the row map of an operator with several segments, padded to 64 bytes.
    ///
    /// Rows of a segment keep their order, so it is enough to know the segment of every output
    /// feature: ``rowMapBits(segmentCount:)`` bits a row.
    public static func rowMapBytes(outputFeatures: Int, segmentCount: Int) -> Int {
      let bytes = (outputFeatures * rowMapBits(segmentCount: segmentCount) + 7) / 8
      return (bytes + PackedLayout.alignment - 1) / PackedLayout.alignment * PackedLayout.alignment
    }

    /// Bits that tell the segments of an operator apart: 1, 2, 4, 8 or 16.
    public static func rowMapBits(segmentCount: Int) -> Int {
      [1, 2, 4, 8].first { segmentCount <= 1 << $0 } ?? 16
    }
  }

  /// Major version of the file's layout.
  public var schemaVersion: Int
  /// The model the plan is for.
  public var model: ModelIdentity
  /// The device the times are for; absent when no budget and no profile needed one.
  public var device: Device?
  /// Where the losses come from.
  public var sensitivity: SensitivitySource
  /// The limits that were asked for.
  public var budgets: [Budget]
  /// How good the plan is, with proof.
  public var certificate: Certificate
  /// What the artifacts say it costs.
  public var predicted: Costs
  /// What executing it cost, once it has been executed.
  public var measured: Costs?
  /// The format of every row of every operator, in the model's order.
  public var operators: [Assignment]
  /// Lowest predicted loss at other sizes: the Pareto front, for the report.
  public var front: [FrontPoint]?
  /// What is minimised where it is not the loss.
  public var goal: Goal?
  /// The context whose KV cache counts towards the byte budget.
  public var context: Context?
  /// What the user demanded of some operators.
  public var rules: Rules?
  /// What executing the plan while searching showed.
  public var check: Check?
  /// What choices that tie in loss gave up and saved.
  public var ties: Ties?
  /// How firm the plan is, given how uncertain the losses are.
  public var stability: Stability?
  /// How keys and values are kept where it is not float32.
  public var keyValueCache: KeyValueCache?
  /// Equivalence transforms of the float model that come before quantizing, in their order.
  public var transforms: [EquivalenceTransform]?

  /// One point of the front of loss against size.
  public struct FrontPoint: Hashable, Sendable, Codable {
    /// Stored bits per weight.
    public let bitsPerWeight: Double
    /// Predicted loss in the sensitivity's metric.
    public let loss: Double

    /// Makes a point.
    public init(bitsPerWeight: Double, loss: Double) {
      self.bitsPerWeight = bitsPerWeight
      self.loss = loss
    }
  }

  /// Makes a plan that has not been executed.
  public init(
    model: ModelIdentity, device: Device?, sensitivity: SensitivitySource, budgets: [Budget],
    certificate: Certificate, predicted: Costs, operators: [Assignment], front: [FrontPoint]? = nil,
    transforms: [EquivalenceTransform]? = nil
  ) {
    self.schemaVersion = Self.supportedSchemaVersion
    self.model = model
    self.device = device
    self.sensitivity = sensitivity
    self.budgets = budgets
    self.certificate = certificate
    self.predicted = predicted
    self.measured = nil
    self.operators = operators
    self.front = front
    self.transforms = transforms
  }
}
