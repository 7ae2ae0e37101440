import Foundation
import Synchronization

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

/// A file that appears under its name only when it is complete.
///
/// Bytes go to `.<name>.tmp-<pid>` beside the target; ``commit()`` flushes them to the disk and
/// renames. Until then the old file is untouched. A staged file that is not committed removes its
/// temporary file when it goes out of scope.
struct StagedFile: ~Copyable {
  private static let counter = Atomic<Int>(0)

  private let target: String
  private let temporary: String
  private let descriptor: Int32
  private let slot: Int?
  private var isFinished = false

  /// Creates the temporary file. `path` may name a file that exists (a symbolic link is followed)
  /// in a folder that exists.
  init(path: String) throws(CheckpointError) {
    let target: String
    switch FileKind(path) {
    case .missing: target = path
    case .regular: target = realpath(path, nil).map(Self.adopt) ?? path
    case .folder:
      throw CheckpointError("\(path.quoted) is a folder. Name a file inside it to write to.")
    case .other:
      throw CheckpointError(
        "\(path.quoted) is not a regular file and cannot be replaced. Name a file on disk.")
    }
    let bytes = Array(target.utf8)
    let slash = bytes.lastIndex(of: UInt8(ascii: "/"))
    let folder = slash.map { String(decoding: bytes[...$0], as: UTF8.self) } ?? ""
    let name = slash.map { String(decoding: bytes[($0 + 1)...], as: UTF8.self) } ?? target
    guard !name.isEmpty, name != ".", name != ".." else {
      throw CheckpointError("\(path.quoted) names no file. Name a file to write to.")
    }
    if !folder.isEmpty, FileKind(folder) != .folder {
      throw CheckpointError(
        "The folder \(folder.quoted) of \(path.quoted) does not exist. Create it first.")
    }
    // Two writers in one process must not share a file; a name at the system's length limit must
    // leave room for the suffix.
    let serial = Self.counter.wrappingAdd(1, ordering: .relaxed).oldValue
    let short = String(name.unicodeScalars.prefix(40).map(Character.init))
    let suffix = "\(getpid())" + (serial == 0 ? "" : "-\(serial)")
    let temporary = "\(folder).\(name.utf8.count <= 200 ? name : short).tmp-\(suffix)"
    // Left over from a dead process with the same id.
    unlink(temporary)
    let slot = TemporaryFiles.register(temporary)
    let descriptor = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o666)
    guard descriptor >= 0 else {
      let reason = systemErrorMessage()
      if let slot { TemporaryFiles.unregister(slot) }
      throw CheckpointError(
        "\(path.quoted) cannot be written: \(reason). Choose another folder.")
    }
    self.target = target
    self.temporary = temporary
    self.slot = slot
    self.descriptor = descriptor
  }

  deinit {
    if !isFinished {
      close(descriptor)
      unlink(temporary)
      if let slot { TemporaryFiles.unregister(slot) }
    }
  }

  private static func adopt(_ path: UnsafeMutablePointer<CChar>) -> String {
    defer { free(path) }
    return String(cString: path)
  }

  /// Appends bytes.
  borrowing func write(_ bytes: UnsafeRawBufferPointer) throws(CheckpointError) {
    var done = 0
    while done < bytes.count {
      guard let base = bytes.baseAddress else { return }
      // At most 1 GiB a call: Darwin refuses more than INT_MAX.
      let written = systemWrite(descriptor, base + done, min(bytes.count - done, 1 << 30))
      if written > 0 {
        done += written
      } else if written < 0, errno != EINTR {
        throw failure()
      }
    }
  }

  /// Appends bytes.
  borrowing func write(_ bytes: [UInt8]) throws(CheckpointError) {
    var failure: CheckpointError?
    bytes.withUnsafeBytes { buffer in
      do throws(CheckpointError) { try write(buffer) } catch { failure = error }
    }
    if let failure { throw failure }
  }

  /// Appends text.
  borrowing func write(_ text: String) throws(CheckpointError) { try write(Array(text.utf8)) }

  /// Flushes to the disk and renames. Consumes the file.
  consuming func commit() throws(CheckpointError) {
    guard fsync(descriptor) == 0 else { throw failure() }
    guard rename(temporary, target) == 0 else { throw failure() }
    close(descriptor)
    if let slot { TemporaryFiles.unregister(slot) }
    isFinished = true
    // Best effort: the rename itself survives a power cut.
    let slash = target.utf8.lastIndex(of: UInt8(ascii: "/"))
    let folder = slash.map { String(target[...$0]) } ?? "."
    let folderDescriptor = open(folder, O_RDONLY | O_CLOEXEC)
    if folderDescriptor >= 0 {
      fsync(folderDescriptor)
      close(folderDescriptor)
    }
  }

  private borrowing func failure() -> CheckpointError {
    let code = errno
    let remedy =
      code == ENOSPC || code == EDQUOT || code == EFBIG
      ? "Free some space, or choose another disk." : "Choose another folder."
    return CheckpointError(
      "\(target.quoted) cannot be written: \(systemErrorMessage(code)). \(remedy)")
  }
}

private func systemWrite(_ descriptor: Int32, _ bytes: UnsafeRawPointer, _ count: Int) -> Int {
  write(descriptor, bytes, count)
}
