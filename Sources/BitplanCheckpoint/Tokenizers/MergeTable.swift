/// The merges of a BPE model: which two adjacent tokens become one, in order of rank.
struct MergeTable: Sendable {
  private var rankOfPair: IntegerTable
  private var merged: [UInt32] = []

  /// Reads `model.merges`: `"a b"` or `["a", "b"]`, most frequent first.
  init(_ node: JSONNode, vocabulary: Vocabulary) throws(CheckpointError) {
    let elements = try node.elements()
    rankOfPair = IntegerTable(minimumCapacity: elements.count)
    merged.reserveCapacity(elements.count)
    for element in elements {
      guard let (left, right) = try Self.pair(element) else { continue }
      func id(_ token: String) throws(CheckpointError) -> UInt32 {
        guard let id = vocabulary.id(of: token) else {
          throw element.error(
            "names the token \(token.quoted), which is not in the vocabulary. Get the file again.")
        }
        return UInt32(id)
      }
      let pair = Self.key(try id(left), try id(right))
      // A pair that is listed twice has its last rank.
      rankOfPair.set(pair, UInt32(merged.count))
      merged.append(try id(left + right))
    }
  }

  private static func pair(_ node: JSONNode) throws(CheckpointError) -> (String, String)? {
    if case .array = node.value {
      let parts = try node.elements()
      guard parts.count == 2 else {
        throw node.error("must be two tokens, not \(parts.count). Get the file again.")
      }
      return (try parts[0].string(), try parts[1].string())
    }
    let text = try node.string()
    if text.hasPrefix("#version") { return nil }
    let parts = text.utf8.split(separator: UInt8(ascii: " "), omittingEmptySubsequences: false)
    guard parts.count == 2, let left = String(parts[0]), let right = String(parts[1]) else {
      throw node.error(
        "must be two tokens with a space between, not \(text.quoted). Get the file again.")
    }
    return (left, right)
  }

  @inline(__always) private static func key(_ left: UInt32, _ right: UInt32) -> UInt64 {
    UInt64(left) << 32 | UInt64(right)
  }

  /// Rank of a pair, or `nil` where it does not merge.
  @inline(__always) func rank(_ left: UInt32, _ right: UInt32) -> UInt32? {
    rankOfPair[Self.key(left, right)]
  }

  /// What the merge of `rank` makes.
  @inline(__always) func token(_ rank: UInt32) -> UInt32 { merged[Int(rank)] }
}

/// Merges the tokens of one word: always the pair of lowest rank, the leftmost of equals.
///
/// Tokens are a linked list and candidates a heap, so a word of n bytes takes O(n log n), also where
/// a whole text is one word. The buffers are reused from word to word.
struct WordMerger {
  private struct Symbol {
    var token: UInt32
    var previous: Int32
    /// Index of the next symbol; `count` at the end.
    var next: Int32
    var isLive: Bool
  }

  private var symbols: [Symbol] = []
  /// Binary min-heap of `rank << 32 | position`.
  private var heap: [UInt64] = []

  /// Appends the merged tokens of `word` to `result`.
  mutating func merge(_ word: [UInt32], _ merges: MergeTable, into result: inout [Int]) {
    symbols.removeAll(keepingCapacity: true)
    heap.removeAll(keepingCapacity: true)
    let count = Int32(word.count)
    for (index, token) in word.enumerated() {
      let index = Int32(index)
      symbols.append(Symbol(token: token, previous: index - 1, next: index + 1, isLive: true))
    }
    for index in 0..<max(count - 1, 0) { push(index, count, merges) }
    while let candidate = pop() {
      let position = Int(candidate & 0xFFFF_FFFF)
      let token = merges.token(UInt32(candidate >> 32))
      let symbol = symbols[position]
      guard symbol.isLive, symbol.next < count else { continue }
      let right = symbols[Int(symbol.next)]
      // The neighbours may have changed since the candidate was pushed.
      guard let rank = merges.rank(symbol.token, right.token), merges.token(rank) == token else {
        continue
      }
      symbols[Int(symbol.next)].isLive = false
      symbols[position].token = token
      symbols[position].next = right.next
      if right.next < count { symbols[Int(right.next)].previous = Int32(position) }
      if symbol.previous >= 0 { push(symbol.previous, count, merges) }
      push(Int32(position), count, merges)
    }
    var index: Int32 = 0
    while index < count {
      result.append(Int(symbols[Int(index)].token))
      index = symbols[Int(index)].next
    }
  }

  /// Pushes the pair that starts at `position`, if it merges.
  private mutating func push(_ position: Int32, _ count: Int32, _ merges: MergeTable) {
    let symbol = symbols[Int(position)]
    guard symbol.next < count,
      let rank = merges.rank(symbol.token, symbols[Int(symbol.next)].token)
    else { return }
    heap.append(UInt64(rank) << 32 | UInt64(position))
    var child = heap.count - 1
    while child > 0 {
      let parent = (child - 1) / 2
      guard heap[child] < heap[parent] else { break }
      heap.swapAt(child, parent)
      child = parent
    }
  }

  private mutating func pop() -> UInt64? {
    guard let first = heap.first, let last = heap.popLast() else { return nil }
    guard !heap.isEmpty else { return first }
    heap[0] = last
    var parent = 0
    while true {
      var child = 2 * parent + 1
      guard child < heap.count else { break }
      if child + 1 < heap.count, heap[child + 1] < heap[child] { child += 1 }
      guard heap[child] < heap[parent] else { break }
      heap.swapAt(child, parent)
      parent = child
    }
    return first
  }
}
