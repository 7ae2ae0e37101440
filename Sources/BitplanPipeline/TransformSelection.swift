/// Which equivalence transforms a plan may use: `none`, `auto`, or a list of families.
public struct TransformSelection: Hashable, Sendable, CustomStringConvertible {
  /// Transforms that are chosen together.
  public enum Family: String, Hashable, Sendable, CaseIterable {
    /// A factor for every feature between norms, values, up and their readers, each slot by the
    /// rule that leaves its readers the least error.
    case scale
    /// A seeded rotation of the residual stream.
    case rotate
    /// A seeded rotation of every head's values.
    case rotateValues = "rotate-values"
    /// A seeded rotation of the input of every layer's `down`, done while the model runs.
    case rotateOnline = "rotate-online"
    /// In its place a Kronecker product of two matrices found from the calibration text.
    case kroneckerOnline = "kronecker-online"
    /// Keys scaled against queries, which helps an integer KV cache only.
    case smoothKeys = "smooth-keys"
  }

  /// The families asked for, in the order of ``Family/allCases``; `nil` lets losses decide.
  public let families: [Family]?
  /// Whether a family that the model's sizes do not allow is left out in silence: nobody named it.
  let isStandard: Bool

  /// What a plan takes unless it is told otherwise: ``Family/rotateOnline``, where the model allows it.
  public static let standard = TransformSelection(families: [.rotateOnline], isStandard: true)
  /// No transform.
  public static let none = TransformSelection(families: [])
  /// Whichever set of families measures best on the calibration text.
  public static let auto = TransformSelection(families: nil)

  private init(families: [Family]?, isStandard: Bool = false) {
    self.families = families
    self.isStandard = isStandard
  }

  /// Reads `none`, `auto`, or families separated by commas; `nil` for anything else, and for two
  /// families that turn the same input.
  public init?(parsing text: String) {
    switch text {
    case "none": self = .none
    case "auto": self = .auto
    default:
      var found: Set<Family> = []
      for part in text.split(separator: ",", omittingEmptySubsequences: false) {
        guard let family = Family(rawValue: String(part)) else { return nil }
        found.insert(family)
      }
      guard !found.isSuperset(of: [.rotateOnline, .kroneckerOnline]) else { return nil }
      self.init(families: Family.allCases.filter(found.contains))
    }
  }

  /// What ``init(parsing:)`` reads.
  public var description: String {
    guard let families else { return "auto" }
    return families.isEmpty ? "none" : families.map(\.rawValue).joined(separator: ",")
  }
}
