internal import Foundation

/// Numbers as people read them.
enum Figures {
  /// Such as `0.812 ms`.
  static func milliseconds(_ seconds: Double) -> String { "\(significant(seconds * 1e3)) ms" }

  /// Such as `4.13 MiB`.
  static func mebibytes(_ bytes: Int) -> String { "\(significant(Double(bytes) / 1_048_576)) MiB" }

  /// Such as `4.131` for 4.1301 with 3 decimals: never less than `value`.
  static func roundedUp(_ value: Double, decimals: Int) -> String {
    let scale = pow(10, Double(decimals))
    return String(format: "%.\(decimals)f", (value * scale).rounded(.up) / scale)
  }

  /// Three significant digits without an exponent where that stays short.
  static func significant(_ value: Double, digits: Int = 3) -> String {
    guard value.isFinite else { return "–" }
    guard value != 0 else { return "0" }
    let magnitude = Int(floor(log10(abs(value))))
    if magnitude < -4 || magnitude > 6 { return String(format: "%.\(digits - 1)e", value) }
    return String(format: "%.\(max(0, digits - 1 - magnitude))f", value)
  }
}
