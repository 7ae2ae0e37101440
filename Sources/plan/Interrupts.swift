import BitplanCheckpoint
import BitplanPipeline
import Foundation

/// Ctrl-C and termination: running verbs stop at the next safe point, and temporary files go.
enum Interrupts {
  static let cancellation = Cancellation()

  /// Handles SIGINT and SIGTERM. A second signal ends the process at once.
  static func install() {
    TemporaryFiles.prepare()
    for number in [SIGINT, SIGTERM] {
      signal(number) { number in
        Interrupts.cancellation.request()
        TemporaryFiles.removeAll()
        signal(number, SIG_DFL)
      }
    }
    signal(SIGPIPE, SIG_IGN)
  }
}
