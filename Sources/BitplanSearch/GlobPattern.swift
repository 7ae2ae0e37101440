/// A pattern for operator names: `*` stands for any text, `?` for any one character, everything else
/// for itself. A pattern matches whole names.
public struct GlobPattern: Hashable, Sendable, CustomStringConvertible {
  /// The pattern as written.
  public let text: String
  private let characters: [Character]

  /// Every text is a pattern.
  public init(_ text: String) {
    self.text = text
    characters = Array(text)
  }

  /// The pattern as written.
  public var description: String { text }

  /// Whether the whole of `name` matches.
  public func matches(_ name: String) -> Bool { captures(in: name) != nil }

  /// What every `*` and `?` stands for in `name`, in order, or `nil` where `name` does not match. A
  /// `*` takes as little as it can.
  ///
  /// - Complexity: O(pattern · name), whatever the pattern.
  func captures(in name: String) -> [String]? {
    let name = Array(name)
    // reachable[i][j]: the pattern from i matches the name from j.
    var reachable = [[Bool]](
      repeating: [Bool](repeating: false, count: name.count + 1), count: characters.count + 1)
    reachable[characters.count][name.count] = true
    for i in characters.indices.reversed() {
      for j in (0...name.count).reversed() {
        reachable[i][j] =
          switch characters[i] {
          case "*": reachable[i + 1][j] || (j < name.count && reachable[i][j + 1])
          case "?": j < name.count && reachable[i + 1][j + 1]
          case let character: j < name.count && name[j] == character && reachable[i + 1][j + 1]
          }
      }
    }
    guard reachable[0][0] else { return nil }
    var captures: [String] = []
    var j = 0
    for (i, character) in characters.enumerated() {
      var end = j
      if character == "*" {
        while !reachable[i + 1][end] { end += 1 }
        captures.append(String(name[j..<end]))
      } else {
        end += 1
        if character == "?" { captures.append(String(name[j..<end])) }
      }
      j = end
    }
    return captures
  }
}
