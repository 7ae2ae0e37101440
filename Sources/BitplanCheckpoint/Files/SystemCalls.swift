#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

/// The system's own words for the error that just happened, such as "No space left on device".
func systemErrorMessage(_ code: Int32 = errno) -> String { String(cString: strerror(code)) }

/// Why `path` cannot be opened for reading, and what to do.
func openingError(_ path: String, code: Int32 = errno) -> CheckpointError {
  switch code {
  case ENOENT:
    CheckpointError("There is no file \(path.quoted). Check the path.")
  case EACCES, EPERM:
    CheckpointError(
      "\(path.quoted) cannot be read: permission denied. Give yourself read permission.")
  default:
    CheckpointError("\(path.quoted) cannot be read: \(systemErrorMessage(code)).")
  }
}

/// What a path leads to, symbolic links followed.
enum FileKind {
  case missing, regular, folder, other

  init(_ path: String) {
    var status = stat()
    guard stat(path, &status) == 0 else {
      self = .missing
      return
    }
    switch status.st_mode & S_IFMT {
    case S_IFREG: self = .regular
    case S_IFDIR: self = .folder
    default: self = .other
    }
  }
}
