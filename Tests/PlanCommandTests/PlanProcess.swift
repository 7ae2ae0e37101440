import BitplanTestSupport
import Foundation

/// The built `plan` program, run as a user would.
struct PlanProcess {
  struct Result {
    let exitCode: Int32
    let output: String
    let errors: String
  }

  /// Where the test bundle lies, the program lies too.
  static let executable: URL = {
    let bundle = URL(filePath: CommandLine.arguments[0]).deletingLastPathComponent()
    let candidates = [
      bundle.appending(path: "plan"),
      Fixtures.folder.deletingLastPathComponent().deletingLastPathComponent()
        .appending(path: ".build/release/plan"),
      Fixtures.folder.deletingLastPathComponent().deletingLastPathComponent()
        .appending(path: ".build/debug/plan"),
    ]
    return candidates.first { FileManager.default.isExecutableFile(atPath: $0.path) }
      ?? candidates[0]
  }()

  /// A folder of its own for every test, removed by the caller.
  static func temporaryFolder() throws -> URL {
    let folder = FileManager.default.temporaryDirectory
      .appending(path: "bitplan-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    return folder
  }

  /// A process that has been started in `folder`.
  static func start(_ arguments: [String], in folder: URL, errors: Pipe, output: Pipe) throws
    -> Process
  {
    let process = Process()
    process.executableURL = executable
    process.arguments = arguments
    process.currentDirectoryURL = folder
    var environment = ProcessInfo.processInfo.environment
    environment["BITPLAN_HOME"] = folder.appending(path: "home").path
    process.environment = environment
    process.standardOutput = output
    process.standardError = errors
    try process.run()
    return process
  }

  /// Runs `plan` with `arguments` in `folder` and waits for it.
  static func run(_ arguments: [String], in folder: URL) throws -> Result {
    let (errors, output) = (Pipe(), Pipe())
    let process = try start(arguments, in: folder, errors: errors, output: output)
    // Standard error is short; read output first so that neither pipe fills up.
    let text = output.fileHandleForReading.readDataToEndOfFile()
    let complaints = errors.fileHandleForReading.readDataToEndOfFile()
    process.waitUntilExit()
    return Result(
      exitCode: process.terminationStatus, output: String(decoding: text, as: UTF8.self),
      errors: String(decoding: complaints, as: UTF8.self))
  }
}
