public import Foundation

/// An empty folder for one test, removed when the object goes.
public final class TemporaryFolder: Sendable {
  /// The folder.
  public let url: URL

  /// Creates it in the system's folder for temporary files.
  public init() throws {
    url = FileManager.default.temporaryDirectory.appending(
      path: "bitplan-test-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: url, withIntermediateDirectories: true)
  }

  deinit { try? FileManager.default.removeItem(at: url) }

  /// Path of a file or folder inside.
  public func path(_ name: String = "") -> String {
    name.isEmpty
      ? url.path(percentEncoded: false) : url.appending(path: name).path(percentEncoded: false)
  }

  /// Names of everything inside, sorted, hidden files included.
  public func names() throws -> [String] {
    try FileManager.default.contentsOfDirectory(atPath: path()).sorted()
  }
}
