import BitplanPipeline
import Foundation
import Synchronization

/// Progress on standard error: one line that is redrawn on a terminal, a line now and then in a log.
final class TerminalProgress: ProgressReporter {
  private struct State {
    var stage = ""
    var start = DispatchTime.now().uptimeNanoseconds
    var lastDrawn: UInt64 = 0
    var width = 0
  }

  private let state = Mutex(State())
  private let isTerminal = isatty(STDERR_FILENO) == 1

  func begin(_ stage: String, total: Int) {
    state.withLock {
      $0.stage = stage
      $0.start = DispatchTime.now().uptimeNanoseconds
      $0.lastDrawn = $0.start
    }
    if isTerminal { draw("\(stage) …") }
  }

  func advance(_ completed: Int, of total: Int) {
    let now = DispatchTime.now().uptimeNanoseconds
    let line: String? = state.withLock { state in
      let interval: UInt64 = isTerminal ? 200_000_000 : 5_000_000_000
      guard now - state.lastDrawn >= interval, total > 0 else { return nil }
      state.lastDrawn = now
      let seconds = Double(now - state.start) * 1e-9
      let share = min(1, Double(completed) / Double(total))
      var line = "\(state.stage) \(Int(share * 100)) %"
      if share > 0.02, seconds > 1 {
        line += ", \(Self.duration(seconds * (1 - share) / share)) left"
      }
      return line
    }
    if let line { draw(line) }
  }

  func end(_ result: String) {
    let (stage, seconds) = state.withLock {
      ($0.stage, Double(DispatchTime.now().uptimeNanoseconds - $0.start) * 1e-9)
    }
    finish("\(stage): \(result) (\(Self.duration(seconds)))")
  }

  func note(_ text: String) { finish(text) }

  private func draw(_ line: String) {
    if isTerminal {
      let padding = state.withLock { state in
        defer { state.width = line.count }
        return max(0, state.width - line.count)
      }
      write("\r" + line + String(repeating: " ", count: padding))
    } else {
      write(line + "\n")
    }
  }

  private func finish(_ line: String) {
    draw(line)
    if isTerminal {
      write("\n")
      state.withLock { $0.width = 0 }
    }
  }

  private func write(_ text: String) {
    try? FileHandle.standardError.write(contentsOf: Data(text.utf8))
  }

  private static func duration(_ seconds: Double) -> String {
    if seconds < 10 { return String(format: "%.1f s", seconds) }
    if seconds < 120 { return "\(Int(seconds.rounded())) s" }
    if seconds < 7200 { return "\(Int(seconds) / 60) min \(Int(seconds) % 60) s" }
    return "\(Int(seconds) / 3600) h \(Int(seconds) % 3600 / 60) min"
  }
}
