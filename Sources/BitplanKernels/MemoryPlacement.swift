#if canImport(Darwin)
  internal import Darwin
#elseif canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#endif

/// Where an allocation lies. Tests put buffers against pages that may not be touched, so that a
/// kernel that reads or writes outside its bounds stops the test.
package enum MemoryPlacement: CaseIterable, Sendable {
  /// Ordinary memory at a multiple of 64.
  case heap
  /// The first byte follows a forbidden page.
  case afterGuard
  /// The last byte precedes a forbidden page; the first one lies wherever that leaves it.
  case beforeGuard
}

/// Zeroed memory in one of the placements.
internal struct Allocation {
  let base: UnsafeMutableRawPointer
  private let mapping: (start: UnsafeMutableRawPointer, byteCount: Int)?

  init(byteCount: Int, placement: MemoryPlacement) {
    guard placement != .heap else {
      let count = max(64, byteCount)
      if count >= Self.ownPagesBytes {
        (base, mapping) = Self.ownPages(count)
        return
      }
      base = UnsafeMutableRawPointer.allocate(byteCount: count, alignment: 64)
      base.initializeMemory(as: UInt8.self, repeating: 0, count: count)
      mapping = nil
      return
    }
    let page = Int(sysconf(Int32(_SC_PAGESIZE)))
    let inner = max(1, (byteCount + page - 1) / page) * page
    let total = inner + 2 * page
    #if canImport(Darwin)
      let flags = MAP_PRIVATE | MAP_ANON
    #else
      let flags = MAP_PRIVATE | MAP_ANONYMOUS
    #endif
    let start = mmap(nil, total, PROT_NONE, flags, -1, 0)
    guard let start, start != MAP_FAILED,
      mprotect(start + page, inner, PROT_READ | PROT_WRITE) == 0
    else { preconditionFailure("the system gave no \(total) bytes") }
    base = start + page + (placement == .afterGuard ? 0 : inner - byteCount)
    mapping = (start, total)
  }

  /// From this size on, memory is asked of the system and goes back to it: an allocator keeps freed
  /// blocks for itself, and one phase's matrices would still count in the next.
  private static let ownPagesBytes = 256 << 10

  /// Zeroed pages, at a multiple of a large page where they are many.
  private static func ownPages(
    _ count: Int
  ) -> (UnsafeMutableRawPointer, (start: UnsafeMutableRawPointer, byteCount: Int)) {
    let largePage = 2 << 20
    let isLarge = count >= 2 * largePage
    let total = count + (isLarge ? largePage : 0)
    #if canImport(Darwin)
      let flags = MAP_PRIVATE | MAP_ANON
    #else
      let flags = MAP_PRIVATE | MAP_ANONYMOUS
    #endif
    guard let start = mmap(nil, total, PROT_READ | PROT_WRITE, flags, -1, 0), start != MAP_FAILED
    else { preconditionFailure("the system gave no \(total) bytes") }
    guard isLarge else { return (start, (start, total)) }
    let address = (Int(bitPattern: start) + largePage - 1) / largePage * largePage
    let base = start + (address - Int(bitPattern: start))
    #if canImport(Glibc) || canImport(Musl)
      // Fewer misses in the address cache when many weights are streamed; a wish, not a need.
      madvise(base, count, Int32(MADV_HUGEPAGE))
    #endif
    return (base, (start, total))
  }

  func deallocate() {
    if let mapping {
      munmap(mapping.start, mapping.byteCount)
    } else {
      base.deallocate()
    }
  }
}
