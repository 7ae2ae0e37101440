import Synchronization

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

/// The temporary files of this process that have not been renamed yet.
///
/// A signal handler must be able to remove them, and it may not allocate, lock or call into the
/// runtime. So the table is a fixed array of atomic pointers to C strings, made once before any
/// handler can run; removing walks it with atomic exchanges and `unlink`, nothing else.
public enum TemporaryFiles {
  private static let slotCount = 64

  private typealias Slot = Atomic<UnsafeMutablePointer<CChar>?>

  /// Never freed: a handler may look at it at any time.
  ///
  /// `nonisolated(unsafe)`: the pointer is set once, and what it points to is atomic.
  private nonisolated(unsafe) static let table: UnsafeMutablePointer<Slot> = {
    let table = UnsafeMutablePointer<Slot>.allocate(capacity: slotCount)
    for index in 0..<slotCount { (table + index).initialize(to: Slot(nil)) }
    return table
  }()

  /// Makes the table. Call it before installing a signal handler that calls ``removeAll()``.
  public static func prepare() { _ = table }

  /// Removes every registered file. Async-signal-safe once ``prepare()`` has returned.
  public static func removeAll() {
    for index in 0..<slotCount {
      // The string is not freed: `free` is not async-signal-safe, and the process is about to end.
      if let path = table[index].exchange(nil, ordering: .acquiringAndReleasing) { unlink(path) }
    }
  }

  /// Adds `path`; `nil` when the table is full, in which case only a crash leaves the file behind.
  static func register(_ path: String) -> Int? {
    guard let copy = strdup(path) else { return nil }
    for index in 0..<slotCount {
      let result = table[index].compareExchange(
        expected: nil, desired: copy, ordering: .acquiringAndReleasing)
      if result.exchanged { return index }
    }
    free(copy)
    return nil
  }

  /// Takes a path out of the table, once it has been renamed or removed.
  static func unregister(_ slot: Int) {
    if let path = table[slot].exchange(nil, ordering: .acquiringAndReleasing) { free(path) }
  }
}
