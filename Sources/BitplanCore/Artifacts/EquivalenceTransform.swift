/// A change of a model's float weights that leaves its function as it is and its quantization
/// error smaller: a scaling or a rotation of the features between two operators, or of an operator's
/// input while the model runs.
///
/// It says how the numbers are found, not the numbers: from the same weights and the same
/// calibration text, the same transform is made again.
public struct EquivalenceTransform: Hashable, Sendable, Codable {
  /// What is done to the features of a slot.
  public enum Kind: String, Hashable, Sendable, Codable, CaseIterable {
    /// Every feature is divided by its own factor where it is produced and multiplied where it is
    /// read.
    case scaling
    /// The features are turned by an orthogonal matrix where they are produced, or before they are read
    /// while the model runs, and back in the weights that read them.
    case rotation
    /// The features are turned by the Kronecker product of two orthogonal matrices that follow from
    /// the calibration text (FlatQuant, Sun et al. 2024, arXiv:2410.09426, without its training).
    case kronecker
  }

  /// The features between operators that are changed.
  public enum Slot: String, Hashable, Sendable, Codable, CaseIterable {
    /// From the attention's norm to query, key and value.
    case attentionInput
    /// From the MLP's norm to gate and up.
    case mlpInput
    /// From value through attention to the output projection.
    case value
    /// From up to down.
    case up
    /// Between queries and keys; matters to the KV cache only.
    case queryKey
    /// The residual stream through all layers.
    case residual
    /// The input of the MLP's last operator, which is turned while the model runs: what produces it
    /// is not linear, so nothing can be turned ahead.
    case downInput
  }

  /// What is done.
  public let kind: Kind
  /// Where.
  public let slot: Slot
  /// The layer; `nil` for the residual stream.
  public let layer: Int?
  /// How the factors of a scaling are found; `nil` for a rotation.
  public let rule: ScalingRule?
  /// The seed of a rotation, or of what spreads the features in a Kronecker product; `nil` for a
  /// scaling.
  public let seed: UInt64?

  /// A scaling of one layer's slot.
  public static func scaling(_ slot: Slot, layer: Int, _ rule: ScalingRule) -> Self {
    Self(kind: .scaling, slot: slot, layer: layer, rule: rule, seed: nil)
  }

  /// A rotation of the residual stream, of one layer's values, or of the input of its `down`.
  public static func rotation(_ slot: Slot, layer: Int?, seed: UInt64) -> Self {
    Self(kind: .rotation, slot: slot, layer: layer, rule: nil, seed: seed)
  }

  /// A Kronecker product of two matrices for the input of one layer's `down`.
  public static func kronecker(layer: Int, seed: UInt64) -> Self {
    Self(kind: .kronecker, slot: .downInput, layer: layer, rule: nil, seed: seed)
  }

  /// Whether it is done while the model runs, and therefore takes time.
  public var isOnline: Bool { slot == .downInput }

  private init(kind: Kind, slot: Slot, layer: Int?, rule: ScalingRule?, seed: UInt64?) {
    self.kind = kind
    self.slot = slot
    self.layer = layer
    self.rule = rule
    self.seed = seed
  }
}

/// How the factors of a scaling follow from calibration and weights.
///
/// With `x` the magnitude of a feature on the calibration tokens and `w` the largest magnitude of
/// the weights that read it, the factor is `x^inputExponent ÷ w^weightExponent`, brought to a
/// geometric mean of 1.
public struct ScalingRule: Hashable, Sendable, Codable {
  /// Which magnitude of a feature counts.
  public enum Statistic: String, Hashable, Sendable, Codable, CaseIterable {
    /// Mean over tokens (AWQ, Lin et al. 2023, arXiv:2306.00978).
    case mean
    /// Largest over tokens (SmoothQuant, Xiao et al. 2022, arXiv:2211.10438).
    case maximum
    /// Largest over tokens relative to that of the feature at the top 0.5 %, at least 1: only
    /// outliers are scaled (DGQ, Zhang et al. 2023, arXiv:2310.04836).
    case outlier
  }

  /// Which magnitude counts.
  public let statistic: Statistic
  /// Exponent of the feature's magnitude, 0 to 1.
  public let inputExponent: Double
  /// Exponent of the weights' magnitude, 0 to 1.
  public let weightExponent: Double

  /// Makes a rule.
  public init(_ statistic: Statistic, inputExponent: Double, weightExponent: Double = 0) {
    self.statistic = statistic
    self.inputExponent = inputExponent
    self.weightExponent = weightExponent
  }

  /// The rule whose factors are all 1.
  public static let identity = ScalingRule(.mean, inputExponent: 0)
  /// Whether all factors are 1.
  public var isIdentity: Bool { inputExponent == 0 && weightExponent == 0 }
}

extension EquivalenceTransform {
  func validate(_ check: ArtifactChecks, _ path: String) throws(ArtifactError) {
    if slot == .residual {
      guard kind == .rotation, layer == nil else {
        throw check.fail(path, "changes the residual stream, which takes a rotation and no layer")
      }
    } else {
      guard let layer else { throw check.fail("\(path).layer", "is missing") }
      try check.count(layer, in: 0...4095, "\(path).layer")
    }
    switch kind {
    case .scaling:
      guard slot != .downInput else {
        throw check.fail("\(path).slot", "is 'downInput', which is rotated; scale 'up' instead")
      }
      guard let rule else { throw check.fail("\(path).rule", "is missing for a scaling") }
      guard seed == nil else { throw check.fail("\(path).seed", "is given for a scaling") }
      for (name, value) in [
        ("inputExponent", rule.inputExponent), ("weightExponent", rule.weightExponent),
      ] {
        guard value >= 0, value <= 1 else {
          throw check.fail("\(path).rule.\(name)", "is \(value), and must lie in 0…1")
        }
      }
    case .rotation, .kronecker:
      guard seed != nil else { throw check.fail("\(path).seed", "is missing for a rotation") }
      guard rule == nil else { throw check.fail("\(path).rule", "is given for a rotation") }
      let slots: [Slot] = kind == .rotation ? [.residual, .value, .downInput] : [.downInput]
      guard slots.contains(slot) else {
        throw check.fail(
          "\(path).slot",
          "is '\(slot.rawValue)', and a \(kind.rawValue) takes one of: "
            + slots.map { "'\($0.rawValue)'" }.joined(separator: ", "))
      }
    }
  }

  /// Checks a list of transforms: each well-formed, no slot of a layer changed twice in one way.
  static func validate(
    _ transforms: [EquivalenceTransform], _ check: ArtifactChecks, _ path: String
  ) throws(ArtifactError) {
    for (index, transform) in transforms.enumerated() {
      try transform.validate(check, "\(path)[\(index)]")
    }
    // A Kronecker product is a rotation too: an input takes one of the two.
    try check.unique(
      transforms.map {
        let kind = $0.kind == .scaling ? Kind.scaling : .rotation
        return "\(kind.rawValue) of \($0.slot.rawValue), layer \($0.layer ?? -1)"
      }, path
    ) { "a \($0)" }
  }
}
