/// A hard limit that the user sets.
public struct Budget: Hashable, Sendable, Codable {
  /// What is limited. The raw value is the key in artifacts and names the unit.
  public enum Kind: String, Hashable, Sendable, Codable, CaseIterable {
    /// Stored bits of all planned operators ÷ their weights.
    case bitsPerWeight
    /// Stored bytes of all planned operators.
    case storedBytes
    /// Seconds to decode one token.
    case decodeSecondsPerToken
    /// Seconds to prefill the profile's prompt length.
    case prefillSeconds
    /// Joules to decode one token.
    case decodeJoulesPerToken
  }

  /// What is limited.
  public let kind: Kind
  /// The limit, in the unit that ``Kind`` names.
  public let limit: Double

  /// `limit` must be positive and finite.
  public init(kind: Kind, limit: Double) {
    precondition(limit > 0 && limit.isFinite, "a budget is a positive number")
    self.kind = kind
    self.limit = limit
  }

  private enum CodingKeys: String, CodingKey { case kind, limit }

  /// Decodes kind and limit; a limit that is not positive and finite is an error.
  public init(from decoder: any Decoder) throws {
    let container = try decoder.container(keyedBy: CodingKeys.self)
    let kind = try container.decode(Kind.self, forKey: .kind)
    let limit = try container.decode(Double.self, forKey: .limit)
    guard limit > 0, limit.isFinite else {
      throw DecodingError.dataCorruptedError(
        forKey: .limit, in: container,
        debugDescription: "the limit is \(limit), and must be positive and finite")
    }
    self.init(kind: kind, limit: limit)
  }

  /// Why a text is not a budget.
  public struct ParsingError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The text as given.
    public let text: String
    /// What to write instead.
    public var description: String {
      "'\(text)' is not a budget. Write a positive number with its unit: 4.2bits (per weight), "
        + "6MiB or 6MB (stored size), 0.8ms/token (decode), 200ms/prefill, 30mJ/token (decode energy)."
    }
  }

  /// Parses `4.2bits`, `6MiB`, `0.8ms/token`, `200ms/prefill` or `30mJ/token`.
  ///
  /// A bare number is refused: MB and MiB differ by 5 %, enough to make a plan not fit.
  public init(parsing text: String) throws(ParsingError) {
    let units: [(suffix: String, kind: Kind, scale: Double)] = [
      ("bits", .bitsPerWeight, 1),
      ("GiB", .storedBytes, 1_073_741_824), ("MiB", .storedBytes, 1_048_576),
      ("KiB", .storedBytes, 1024), ("GB", .storedBytes, 1e9), ("MB", .storedBytes, 1e6),
      ("KB", .storedBytes, 1e3),
      ("us/token", .decodeSecondsPerToken, 1e-6), ("ms/token", .decodeSecondsPerToken, 1e-3),
      ("s/token", .decodeSecondsPerToken, 1),
      ("us/prefill", .prefillSeconds, 1e-6), ("ms/prefill", .prefillSeconds, 1e-3),
      ("s/prefill", .prefillSeconds, 1),
      ("uJ/token", .decodeJoulesPerToken, 1e-6), ("mJ/token", .decodeJoulesPerToken, 1e-3),
      ("J/token", .decodeJoulesPerToken, 1),
    ]
    for unit in units where text.hasSuffix(unit.suffix) {
      guard let number = Double(text.dropLast(unit.suffix.count)) else { continue }
      let limit = number * unit.scale
      guard limit > 0, limit.isFinite else { break }
      self.init(kind: unit.kind, limit: limit)
      return
    }
    throw ParsingError(text: text)
  }
}

extension Budget: CustomStringConvertible {
  /// The limit as a user would write it.
  public var description: String {
    switch kind {
    case .bitsPerWeight: "\(Self.short(limit)) bits per weight"
    case .storedBytes: "\(Self.short(limit / 1_048_576)) MiB"
    case .decodeSecondsPerToken: "\(Self.short(limit * 1e3)) ms per decoded token"
    case .prefillSeconds: "\(Self.short(limit * 1e3)) ms per prefill"
    case .decodeJoulesPerToken: "\(Self.short(limit * 1e3)) mJ per decoded token"
    }
  }

  private static func short(_ value: Double) -> String {
    let rounded = (value * 10_000).rounded() / 10_000
    return rounded == rounded.rounded() && abs(rounded) < 1e15 ? "\(Int(rounded))" : "\(rounded)"
  }
}
