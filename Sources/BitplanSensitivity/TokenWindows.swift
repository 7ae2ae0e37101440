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
    let taken = min(count, available)
    let windows = (0..<taken).map { index in
      let slot = placement == .first ? index : index * available / taken
      return Array(ids[slot * length..<(slot + 1) * length])
    }
    return TokenWindows(name: name, windows: windows)
  }

  /// Takes `count` sentences of at most `length` ids from the lines of a text for an encoder.
  public static func encoder(
    name: String, text: String, tokenizer: any Tokenizer, count: Int, length: Int
  ) throws(TooShort) -> TokenWindows {
    let lines = text.split(whereSeparator: \.isNewline).filter { line in
      line.count { $0.isLetter } >= 20
    }
    guard !lines.isEmpty else {
      throw TooShort(
        description:
          "'\(name)' has no line with at least 20 letters. Use a text with whole sentences.")
    }
    let taken = min(count, lines.count)
    let windows = (0..<taken).map { index in
      truncated(
        tokenizer.encode(String(lines[index * lines.count / taken]), addSpecialTokens: true), length
      )
    }
    return TokenWindows(name: name, windows: windows)
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
