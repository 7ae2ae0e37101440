import BitplanCore

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

/// A file mapped into memory for reading: opening it costs nothing, pages come as they are touched.
///
/// `@unchecked Sendable`: the mapping is read-only and lives as long as the object, and nothing in
/// the object changes after `init`. A file that another process cuts short while it is mapped
/// raises SIGBUS on access, as with any mapping; checkpoints are replaced by renaming.
final class MappedFile: ByteRegion, @unchecked Sendable {
  /// Size in bytes.
  let count: Int
  private let base: UnsafeMutableRawPointer?

  /// Maps a regular file.
  init(path: String) throws(CheckpointError) {
    // Opening a pipe or a device could block or have side effects: look first.
    switch FileKind(path) {
    case .regular, .missing: break
    case .folder:
      throw CheckpointError("\(path.quoted) is a folder, not a file. Name the file inside it.")
    case .other:
      throw CheckpointError("\(path.quoted) is not a regular file. Name a file on disk.")
    }
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { throw openingError(path) }
    defer { close(descriptor) }
    var status = stat()
    guard fstat(descriptor, &status) == 0 else { throw openingError(path) }
    count = Int(status.st_size)
    guard count > 0 else {
      base = nil
      return
    }
    guard let address = mmap(nil, count, PROT_READ, MAP_PRIVATE, descriptor, 0),
      address != MAP_FAILED
    else {
      throw CheckpointError(
        "\(path.quoted) (\(count) bytes) cannot be mapped into memory: \(systemErrorMessage()).")
    }
    base = address
  }

  deinit {
    if let base { munmap(base, count) }
  }

  /// Gives the memory of `range` back to the system: the bytes are read from the file again when they
  /// are touched again. Weights that were converted need not be in memory twice.
  func release(_ range: Range<Int>) {
    guard let base else { return }
    let page = Int(sysconf(Int32(_SC_PAGESIZE)))
    let (start, end) = ((range.lowerBound + page - 1) / page * page, range.upperBound / page * page)
    // Advice: where it is not taken, nothing is lost.
    if start < end { _ = madvise(base + start, end - start, Int32(MADV_DONTNEED)) }
  }

  func withUnsafeBytes<Result>(
    _ body: (UnsafeRawBufferPointer) throws -> Result
  ) rethrows -> Result {
    try body(UnsafeRawBufferPointer(start: base, count: count))
  }

  /// As ``withUnsafeBytes(_:)``, keeping the type of the error.
  func withBytes<Result, Failure: Error>(
    _ body: (UnsafeRawBufferPointer) throws(Failure) -> Result
  ) throws(Failure) -> Result {
    try body(UnsafeRawBufferPointer(start: base, count: count))
  }
}
