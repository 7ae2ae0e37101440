/// A hash table from 64-bit keys to 32-bit values, filled once and then read.
///
/// Merges and tries are looked up once or more for every byte of text; a table that knows its keys
/// are integers is several times as fast as a general dictionary.
struct IntegerTable: Sendable {
  private var keys: [UInt64]
  private var values: [UInt32]
  private var mask: Int
  private(set) var count = 0

  /// `UInt64.max` marks an empty slot and cannot be a key.
  private static let empty = UInt64.max

  init(minimumCapacity: Int = 16) {
    var capacity = 16
    while capacity < minimumCapacity * 2 { capacity *= 2 }
    keys = Array(repeating: Self.empty, count: capacity)
    values = Array(repeating: 0, count: capacity)
    mask = capacity - 1
  }

  /// Slot of `key`, or the empty slot where it would go.
  private func slot(_ key: UInt64) -> Int {
    // Fibonacci hashing: the product spreads every bit of the key into the upper half.
    var slot = Int(truncatingIfNeeded: (key &* 0x9E37_79B9_7F4A_7C15) >> 32) & mask
    while keys[slot] != key, keys[slot] != Self.empty { slot = (slot + 1) & mask }
    return slot
  }

  subscript(key: UInt64) -> UInt32? {
    get {
      let slot = slot(key)
      return keys[slot] == key ? values[slot] : nil
    }
  }

  /// Adds or replaces.
  mutating func set(_ key: UInt64, _ value: UInt32) {
    var place = slot(key)
    if keys[place] != key {
      if (count + 1) * 2 > keys.count {
        grow()
        place = slot(key)
      }
      keys[place] = key
      count += 1
    }
    values[place] = value
  }

  private mutating func grow() {
    let (oldKeys, oldValues) = (keys, values)
    keys = Array(repeating: Self.empty, count: oldKeys.count * 2)
    values = Array(repeating: 0, count: oldKeys.count * 2)
    mask = keys.count - 1
    for (key, value) in zip(oldKeys, oldValues) where key != Self.empty {
      let place = slot(key)
      keys[place] = key
      values[place] = value
    }
  }
}

/// A trie over bytes that finds the longest entry a text starts with.
struct ByteTrie: Sendable {
  private var edges = IntegerTable()
  /// Value of every node, or -1 where no entry ends.
  private var valueOfNode: [Int32] = [-1]

  /// Whether there are no entries.
  var isEmpty: Bool { valueOfNode.count == 1 }

  /// Adds or replaces an entry, which must not be empty.
  mutating func insert(_ bytes: some Sequence<UInt8>, value: Int) {
    var node: UInt32 = 0
    for byte in bytes {
      let edge = UInt64(node) << 8 | UInt64(byte)
      if let next = edges[edge] {
        node = next
      } else {
        let next = UInt32(valueOfNode.count)
        edges.set(edge, next)
        valueOfNode.append(-1)
        node = next
      }
    }
    valueOfNode[Int(node)] = Int32(value)
  }

  /// The longest entry that `bytes[start..<end]` starts with.
  func longestMatch(_ bytes: [UInt8], from start: Int, to end: Int) -> (value: Int, end: Int)? {
    var node: UInt32 = 0
    var position = start
    var best: (value: Int, end: Int)?
    while position < end, let next = edges[UInt64(node) << 8 | UInt64(bytes[position])] {
      node = next
      position += 1
      let value = valueOfNode[Int(node)]
      if value >= 0 { best = (Int(value), position) }
    }
    return best
  }
}
