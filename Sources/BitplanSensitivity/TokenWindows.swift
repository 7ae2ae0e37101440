public import BitplanCheckpoint
public import BitplanCore

/// Token sequences to measure or to report on.
public struct TokenWindows: Hashable, Sendable {
  /// Where the text came from.
  public let name: String
  /// Token ids, one array a sequence.
  public let windows: [[Int]]

  /// Takes sequences as they are; none may be empty.
  public init(name: String, windows: [[Int]]) {
    precondition(!windows.isEmpty && windows.allSatisfy { !$0.isEmpty })
    self.name = name
    self.windows = windows
  }

  /// Why a text gives no windows.
  public struct TooShort: Error, Hashable, Sendable, CustomStringConvertible {
    /// What happened, then what to do.
    public let description: String
  }

  /// Which windows to cut from a text.
  public enum Placement: Sendable {
    /// The first windows, without overlap: how perplexity is reported.
    case first
    /// Windows spread evenly over the text: how calibration covers it.
    case spread
    /// Those that `.spread` takes when it takes `measured`, and more from the rest, of which half at
    /// least is left over.
    case wide(measured: Int)
    /// Windows spread evenly over those that `.wide` leaves when it takes `wide`: for a check on text
    /// that nothing was measured on.
    case besides(measured: Int, wide: Int)

    /// The same for texts that are cut into `factor` times as many pieces.
    package func scaled(by factor: Int) -> Placement {
      switch self {
      case .first, .spread: .spread
      case .wide(let measured): .wide(measured: measured * factor)
      case .besides(let measured, let wide):
        .besides(measured: measured * factor, wide: wide * factor)
      }
    }

    /// Which of `available` places to take, at most `count`; ascending.
    func slots(available: Int, count: Int) -> [Int] {
      switch self {
      case .first: return Array(0..<min(count, available))
      case .spread:
        let taken = min(count, available)
        return (0..<taken).map { $0 * available / taken }
      case .wide(let measured):
        let first = Placement.spread.slots(available: available, count: min(measured, count))
        let rest = Placement.rest(of: available, without: first)
        let more = Placement.spread.slots(
          available: rest.count, count: min(max(0, count - measured), rest.count / 2))
        return (first + more.map { rest[$0] }).sorted()
      case .besides(let measured, let wide):
        let used = Placement.wide(measured: measured).slots(available: available, count: wide)
        let rest = Placement.rest(of: available, without: used)
        return Placement.spread.slots(available: rest.count, count: count).map { rest[$0] }
      }
    }

    private static func rest(of available: Int, without used: [Int]) -> [Int] {
      let used = Set(used)
      return (0..<available).filter { !used.contains($0) }
    }
  }

  /// Cuts `count` windows of `length` ids from a text for a language model.
  public static func languageModel(
    name: String, text: String, tokenizer: any Tokenizer, count: Int, length: Int,
    placement: Placement
  ) throws(TooShort) -> TokenWindows {
    let ids = tokenizer.encode(text, addSpecialTokens: false)
    let available = ids.count / length
    guard available > 0 else {
      throw TooShort(
        description:
          "'\(name)' has \(ids.count) tokens; one window takes \(length). Use a longer text.")
    }
    let slots = placement.slots(available: available, count: count)
    guard !slots.isEmpty else { throw nothingLeft(name) }
    return TokenWindows(
      name: name, windows: slots.map { Array(ids[$0 * length..<($0 + 1) * length]) })
  }

  /// Takes `count` sentences of at most `length` ids from the lines of a text for an encoder.
  public static func encoder(
    name: String, text: String, tokenizer: any Tokenizer, count: Int, length: Int,
    placement: Placement = .spread
  ) throws(TooShort) -> TokenWindows {
    let lines = text.split(whereSeparator: \.isNewline).filter { line in
      line.count { $0.isLetter } >= 20
    }
    guard !lines.isEmpty else {
      throw TooShort(
        description:
          "'\(name)' has no line with at least 20 letters. Use a text with whole sentences.")
    }
    let slots = placement.slots(available: lines.count, count: count)
    guard !slots.isEmpty else { throw nothingLeft(name) }
    return TokenWindows(
      name: name,
      windows: slots.map {
        truncated(tokenizer.encode(String(lines[$0]), addSpecialTokens: true), length)
      })
  }

  private static func nothingLeft(_ name: String) -> TooShort {
    TooShort(
      description: "'\(name)' has no text left besides what was measured on. Use a longer text.")
  }

  /// Keeps the closing special token of a sentence that is cut.
  private static func truncated(_ ids: [Int], _ length: Int) -> [Int] {
    ids.count <= length ? ids : Array(ids.prefix(length - 1)) + [ids[ids.count - 1]]
  }

  /// All ids in order.
  public var tokens: [Int] { windows.flatMap { $0 } }

  /// How often each id below `vocabularySize` occurs, with half an occurrence added to each, so that
  /// an id that this text lacks is not taken for one that never comes; adds up to 1.
  public func tokenShares(vocabularySize: Int) -> [Double] {
    var counts = [Double](repeating: 0.5, count: vocabularySize)
    for window in windows {
      for id in window where id < vocabularySize { counts[id] += 1 }
    }
    let total = counts.reduce(0, +)
    return counts.map { $0 / total }
  }

  /// SHA-256 of the ids: little-endian 32-bit, each window preceded by its length.
  public var sha256: String {
    var bytes: [UInt8] = []
    for window in windows {
      for value in [window.count] + window {
        for shift in [0, 8, 16, 24] { bytes.append(UInt8(truncatingIfNeeded: value >> shift)) }
      }
    }
    return ArtifactFile.sha256(bytes)
  }

  /// How artifacts refer to these tokens.
  public var calibration: SensitivityTable.Calibration {
    SensitivityTable.Calibration(
      name: name, sha256: sha256, windowCount: windows.count,
      windowTokens: windows.map(\.count).max() ?? 0)
  }
}
