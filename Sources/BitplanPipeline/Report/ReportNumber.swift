import Foundation

/// Numbers as the report shows them: few digits, never `nan`, `–` where there is none.
package enum ReportNumber {
  /// What stands where a number is not known.
  package static let missing = "–"

  /// `value` with `digits` significant digits: `4.197`, `0.0173`, `1,234`, `3.1e-7`.
  package static func significant(_ value: Double?, _ digits: Int) -> String {
    guard let value, value.isFinite else { return missing }
    guard let decimals = decimals(for: value, digits: digits) else {
      return scientific(value, digits: digits)
    }
    return fixed(value, decimals: decimals)
  }

  /// `value` with exactly `decimals` digits after the point and groups of three before it.
  package static func fixed(_ value: Double?, decimals: Int) -> String {
    guard let value, value.isFinite else { return missing }
    guard abs(value) < 1e15 else { return scientific(value, digits: 4) }
    let text = String(format: "%.\(max(0, decimals))f", abs(value))
    let isZero = text.allSatisfy { $0 == "0" || $0 == "." }
    let parts = text.split(separator: ".", omittingEmptySubsequences: false)
    let whole = grouped(digits: parts[0])
    let number = parts.count > 1 ? "\(whole).\(parts[1])" : whole
    return value < 0 && !isZero ? "−\(number)" : number
  }

  /// An integer with groups of three: `8,388,608`.
  package static func grouped(_ value: Int) -> String {
    let digits = grouped(digits: Substring(String(value.magnitude)))
    return value < 0 ? "−\(digits)" : digits
  }

  /// A share such as `12.5 %`.
  package static func percent(_ fraction: Double?) -> String {
    guard let fraction, fraction.isFinite else { return missing }
    let percent = fraction * 100
    let decimals = abs(percent) >= 99.95 || percent == 0 ? 0 : 1
    guard abs(percent) >= 0.05 || percent == 0 else { return "\(significant(percent, 1)) %" }
    return "\(fixed(percent, decimals: decimals)) %"
  }

  /// A small share with two significant digits, such as a gap of `0.060 %`.
  package static func smallPercent(_ fraction: Double?) -> String {
    guard let fraction, fraction.isFinite else { return missing }
    return "\(significant(fraction * 100, 2)) %"
  }

  /// How far `measured` is from `predicted`, such as `+3.8 %`; `equal` where they are the same.
  package static func difference(predicted: Double?, measured: Double?) -> String {
    guard let predicted, let measured, predicted.isFinite, measured.isFinite else { return missing }
    if predicted == measured { return "equal" }
    guard predicted != 0 else { return missing }
    let percent = (measured - predicted) / abs(predicted) * 100
    guard percent.isFinite else { return missing }
    let magnitude = abs(percent)
    let number =
      magnitude >= 99.95
      ? fixed(magnitude, decimals: 0)
      : magnitude >= 0.95 ? fixed(magnitude, decimals: 1) : significant(magnitude, 1)
    return "\(percent < 0 ? "−" : "+")\(number) %"
  }

  /// A value and its standard error with the same number of decimals: `0.01731 ± 0.00040`.
  package static func withError(_ value: Double?, _ error: Double?, digits: Int) -> String {
    let parts = valueAndError(value, error, digits: digits)
    return parts.error == missing ? parts.value : "\(parts.value) ± \(parts.error)"
  }

  /// The two texts of ``withError(_:_:digits:)``: the error has two significant digits, and the
  /// value as many decimals, but not more than two digits beyond `digits`.
  package static func valueAndError(
    _ value: Double?, _ error: Double?, digits: Int
  ) -> (value: String, error: String) {
    guard let value, value.isFinite else { return (missing, missing) }
    guard let error, error.isFinite, error > 0,
      let valueDecimals = decimals(for: value, digits: digits),
      let errorDecimals = decimals(for: error, digits: 2, smallestExponent: -9)
    else {
      return (significant(value, digits), significant(error.flatMap { $0 > 0 ? $0 : nil }, 2))
    }
    let shown = min(errorDecimals, valueDecimals + 2)
    return (fixed(value, decimals: shown), fixed(error, decimals: errorDecimals))
  }

  /// A size with the binary unit that suits it, such as `4.197 MiB`.
  package static func bytes(_ bytes: Int?) -> String {
    guard let bytes else { return missing }
    let unit = ByteUnit.suiting(bytes)
    return unit == .bytes
      ? "\(grouped(bytes)) B" : "\(significant(Double(bytes) / unit.scale, 4)) \(unit.name)"
  }

  /// A duration with the unit that suits it, such as `0.610 ms`.
  package static func seconds(_ seconds: Double?) -> String {
    guard let seconds, seconds.isFinite else { return missing }
    let unit = TimeUnit.suiting(seconds)
    return "\(significant(seconds / unit.scale, 3)) \(unit.name)"
  }

  /// Digits after the point for `digits` significant ones; `nil` where `1e-7` reads better.
  private static func decimals(
    for value: Double, digits: Int, smallestExponent: Int = -5
  ) -> Int? {
    guard value != 0 else { return 0 }
    var exponent = Int(log10(abs(value)).rounded(.down))
    // Rounding may carry into a new digit: 9.9996 with four digits is 10.00.
    let unit = pow(10, Double(exponent - digits + 1))
    if (abs(value) / unit).rounded() * unit >= pow(10, Double(exponent + 1)) * (1 - 1e-12) {
      exponent += 1
    }
    guard (smallestExponent...14).contains(exponent) else { return nil }
    return max(0, digits - 1 - exponent)
  }

  /// Digits after the point that show `value` with `digits` significant ones.
  package static func decimals(of value: Double, digits: Int) -> Int {
    guard value.isFinite else { return 0 }
    return decimals(for: value, digits: digits) ?? min(12, digits + 4)
  }

  private static func scientific(_ value: Double, digits: Int) -> String {
    let text = String(format: "%.\(max(0, digits - 1))e", abs(value))
    let parts = text.split(separator: "e")
    let exponent = parts.count > 1 ? Int(parts[1]) ?? 0 : 0
    return "\(value < 0 ? "−" : "")\(parts[0])e\(exponent)"
  }

  private static func grouped(digits: Substring) -> String {
    var result = ""
    for (index, digit) in digits.enumerated() {
      if index > 0, (digits.count - index).isMultiple(of: 3) { result.append(",") }
      result.append(digit)
    }
    return result
  }
}

/// A binary unit of size.
package enum ByteUnit: CaseIterable, Sendable {
  case bytes, kibibytes, mebibytes, gibibytes, tebibytes

  /// The symbol.
  package var name: String {
    switch self {
    case .bytes: "B"
    case .kibibytes: "KiB"
    case .mebibytes: "MiB"
    case .gibibytes: "GiB"
    case .tebibytes: "TiB"
    }
  }

  /// Bytes of one unit.
  package var scale: Double {
    switch self {
    case .bytes: 1
    case .kibibytes: 1024
    case .mebibytes: 1_048_576
    case .gibibytes: 1_073_741_824
    case .tebibytes: 1_099_511_627_776
    }
  }

  /// The largest unit that `bytes` holds at least once.
  package static func suiting(_ bytes: Int) -> ByteUnit {
    allCases.last { Double(bytes.magnitude) >= $0.scale } ?? .bytes
  }
}

/// A unit of time.
package enum TimeUnit: Sendable {
  case seconds, milliseconds, microseconds

  /// The symbol.
  package var name: String {
    switch self {
    case .seconds: "s"
    case .milliseconds: "ms"
    case .microseconds: "µs"
    }
  }

  /// Seconds of one unit.
  package var scale: Double {
    switch self {
    case .seconds: 1
    case .milliseconds: 1e-3
    case .microseconds: 1e-6
    }
  }

  /// Milliseconds for anything from 0.05 ms to 10 s.
  package static func suiting(_ seconds: Double) -> TimeUnit {
    let magnitude = abs(seconds)
    if magnitude >= 10 { return .seconds }
    return magnitude >= 5e-5 || magnitude == 0 ? .milliseconds : .microseconds
  }
}
