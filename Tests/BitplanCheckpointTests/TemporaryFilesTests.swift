import BitplanCheckpoint
import BitplanTestSupport
import Foundation
import Testing

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

/// These run in processes of their own: they end them, limit them or remove all temporary files.
struct TemporaryFilesTests {
  @Test("a signal handler that removes all temporary files leaves none")
  func removeAll() async {
    await #expect(processExitsWith: .exitCode(7)) {
      let folder = try TemporaryFolder()
      let path = folder.path("out.safetensors")
      try ArtifactFile.write(text: "old", path: path)
      TemporaryFiles.prepare()
      signal(SIGUSR1) { _ in TemporaryFiles.removeAll() }
      do {
        try SafetensorsWriter.write(
          path: path, metadata: [:],
          entries: [
            SafetensorsWriter.Entry(name: "a", dataType: "U8", shape: [1], byteCount: 1) { sink in
              let during = try folder.names()
              guard during.count == 2, during[0].hasPrefix(".out.safetensors.tmp-\(getpid())")
              else { exit(1) }
              // To the process, not to this thread: worker threads may block signals.
              kill(getpid(), SIGUSR1)
              for _ in 0..<2000 where try folder.names().count > 1 { usleep(1000) }
              guard try folder.names() == ["out.safetensors"] else { exit(2) }
              try [UInt8(1)].withUnsafeBytes { try sink($0) }
            }
          ])
      } catch is CheckpointError {
        // The file was gone when it should have been renamed: the old one is still there.
        guard try String(contentsOfFile: path, encoding: .utf8) == "old" else { exit(3) }
        // The registry is usable again.
        try ArtifactFile.write(text: "new", path: path)
        guard try folder.names() == ["out.safetensors"] else { exit(4) }
        try? FileManager.default.removeItem(at: folder.url)
        exit(7)
      }
      exit(5)
    }
  }

  @Test("a disk that takes no more bytes is an error that leaves nothing behind")
  func diskFull() async {
    await #expect(processExitsWith: .exitCode(7)) {
      let folder = try TemporaryFolder()
      let path = folder.path("out.bin")
      try ArtifactFile.write(text: "old", path: path)
      signal(SIGXFSZ, SIG_IGN)
      var limit = rlimit(rlim_cur: 1000, rlim_max: 1000)
      #if canImport(Glibc)
        setrlimit(__rlimit_resource_t(RLIMIT_FSIZE.rawValue), &limit)
      #else
        setrlimit(RLIMIT_FSIZE, &limit)
      #endif
      do {
        try ArtifactFile.write(bytes: [UInt8](repeating: 1, count: 5000), path: path)
      } catch let error as CheckpointError {
        guard error.description.contains("cannot be written"), try folder.names() == ["out.bin"],
          try String(contentsOfFile: path, encoding: .utf8) == "old"
        else { exit(1) }
        try? FileManager.default.removeItem(at: folder.url)
        exit(7)
      }
      exit(2)
    }
  }
}
