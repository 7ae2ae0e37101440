/// A string that is compared byte by byte.
///
/// Swift's `String` treats canonically equivalent texts as equal, so `é` written as one scalar and
/// as two would be the same dictionary key. Tensor names and tokens are different whenever their
/// bytes are.
struct ExactString: Hashable, Comparable, Sendable {
  let string: String

  init(_ string: String) {
    var string = string
    string.makeContiguousUTF8()
    self.string = string
  }

  static func == (lhs: Self, rhs: Self) -> Bool {
    lhs.string.utf8.count == rhs.string.utf8.count && lhs.string.utf8.elementsEqual(rhs.string.utf8)
  }

  static func < (lhs: Self, rhs: Self) -> Bool {
    lhs.string.utf8.lexicographicallyPrecedes(rhs.string.utf8)
  }

  func hash(into hasher: inout Hasher) {
    let done: Void? = string.utf8.withContiguousStorageIfAvailable {
      hasher.combine(bytes: UnsafeRawBufferPointer($0))
    }
    if done == nil {
      for byte in string.utf8 { hasher.combine(byte) }
    }
  }
}
