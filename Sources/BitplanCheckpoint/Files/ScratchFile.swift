import Synchronization

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

/// Bytes that a long computation sets aside on disk and reads back, so that its memory stays small.
///
/// The file has no name: it goes away with the object, or with the process however that ends. Pieces
/// are appended; one may be replaced by another of its size. What is read goes into the caller's
/// memory, not into a mapping, so the process does not grow with the file.
public final class ScratchFile: Sendable {
  private let descriptor: Int32
  private let end = Mutex(0)

  /// Makes a file in the folder that `TMPDIR` names, else in `/var/tmp`, which is on a disk where
  /// `/tmp` may be memory.
  public init() throws(CheckpointError) {
    let named = getenv("TMPDIR").map { String(cString: $0) }
    let folder = named.flatMap { $0.isEmpty ? nil : $0 } ?? "/var/tmp"
    var template = Array("\(folder)/bitplan-scratch-XXXXXX".utf8CString)
    let descriptor = mkstemp(&template)
    guard descriptor >= 0 else {
      throw CheckpointError(
        "a temporary file cannot be made in \(folder.quoted): \(systemErrorMessage()). Set TMPDIR "
          + "to a folder with room.")
    }
    unlink(template)
    _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC)
    self.descriptor = descriptor
  }

  deinit { close(descriptor) }

  /// Appends bytes and returns where they lie.
  ///
  /// - Throws: `CheckpointError` where the disk has no room for them.
  public func append(_ bytes: UnsafeRawBufferPointer) throws(CheckpointError) -> Range<Int> {
    let begin = end.withLock { end in
      defer { end += bytes.count }
      return end
    }
    let range = begin..<begin + bytes.count
    try replace(range, with: bytes)
    return range
  }

  /// Writes other bytes of the same count where an append put some.
  ///
  /// - Throws: `CheckpointError` where the disk fails.
  public func replace(
    _ range: Range<Int>, with bytes: UnsafeRawBufferPointer
  ) throws(CheckpointError) {
    precondition(range.count == bytes.count, "as many bytes as were appended")
    var done = 0
    while done < bytes.count {
      let count = pwrite(
        descriptor, bytes.baseAddress! + done, bytes.count - done, off_t(range.lowerBound + done))
      guard count > 0 else {
        if count < 0, errno == EINTR { continue }
        throw CheckpointError(
          "\(bytes.count) bytes cannot be set aside in a temporary file: \(systemErrorMessage()). "
            + "Set TMPDIR to a folder with more room.")
      }
      done += count
    }
  }

  /// Reads the bytes at `range`, which an append returned, into `target` of the same count.
  ///
  /// - Throws: `CheckpointError` where the disk fails.
  public func read(
    _ range: Range<Int>, into target: UnsafeMutableRawBufferPointer
  ) throws(CheckpointError) {
    precondition(range.count == target.count, "as many bytes as were appended")
    var done = 0
    while done < range.count {
      let count = pread(
        descriptor, target.baseAddress! + done, range.count - done,
        off_t(range.lowerBound + done))
      guard count > 0 else {
        if count < 0, errno == EINTR { continue }
        throw CheckpointError(
          "a temporary file cannot be read back: "
            + (count == 0 ? "it is shorter than what was written" : systemErrorMessage())
            + ". Check the disk.")
      }
      done += count
    }
  }
}
