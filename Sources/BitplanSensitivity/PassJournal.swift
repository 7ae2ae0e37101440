internal import BitplanCheckpoint
public import Foundation

/// Losses of finished passes on disk, so that a killed measurement goes on where it was.
///
/// One line of JSON a pass, after a first line with the key of the measurement; a line that was
/// cut off by a kill is ignored. Losses are written with all their digits, so a resumed
/// measurement gives the same table as an undisturbed one.
public final class PassJournal {
  private struct Header: Codable, Equatable { let key: String }
  private struct Line: Codable {
    let pass: Int
    let loss: Double
  }

  private let file: URL
  private let handle: FileHandle
  /// Losses found in the file, by pass.
  public private(set) var losses: [Int: Double] = [:]

  /// Opens or starts the journal of the measurement with this key; a journal of another
  /// measurement is started over.
  public init(file: URL, key: String) throws {
    self.file = file
    let header = Header(key: key)
    var keep = Data()
    if let data = FileManager.default.contents(atPath: file.path) {
      let lines = data.split(separator: UInt8(ascii: "\n"))
      let decoder = JSONDecoder()
      if let first = lines.first, (try? decoder.decode(Header.self, from: first)) == header {
        for line in lines.dropFirst() {
          guard let entry = try? decoder.decode(Line.self, from: line) else { continue }
          losses[entry.pass] = entry.loss
        }
      }
    }
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys]
    keep.append(try encoder.encode(header) + Data("\n".utf8))
    for (pass, loss) in losses.sorted(by: { $0.key < $1.key }) {
      keep.append(try encoder.encode(Line(pass: pass, loss: loss)) + Data("\n".utf8))
    }
    try keep.write(to: file, options: .atomic)
    handle = try FileHandle(forWritingTo: file)
    try handle.seekToEnd()
  }

  /// Notes the loss of a finished pass.
  public func record(_ pass: Int, loss: Double) throws {
    losses[pass] = loss
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys]
    try handle.write(contentsOf: encoder.encode(Line(pass: pass, loss: loss)) + Data("\n".utf8))
  }

  /// Removes the file: the measurement is complete and stored elsewhere.
  public func remove() {
    try? handle.close()
    try? FileManager.default.removeItem(at: file)
  }
}
