import BitplanCore
import BitplanPipeline
import Foundation
import Testing

struct ReportNumberTests {
  @Test(
    "significant digits, rounding that carries, and where powers of ten take over",
    arguments: [
      (4.19989, 4, "4.200"), (4.19949, 4, "4.199"), (0.017312, 3, "0.0173"), (9.9996, 4, "10.00"),
      (99.96, 3, "100"), (0.00009996, 3, "0.000100"), (0, 3, "0"), (1234.5678, 6, "1,234.57"),
      (1_234_567, 3, "1,234,567"), (3.14159e-7, 3, "3.14e-7"), (-0.5, 2, "−0.50"),
      (2.5e20, 3, "2.50e20"), (-4.4e-9, 2, "−4.4e-9"), (.leastNonzeroMagnitude, 2, "4.9e-324"),
    ])
  func significant(_ value: Double, _ digits: Int, _ expected: String) {
    #expect(ReportNumber.significant(value, digits) == expected)
  }

  @Test("no value, infinity and not-a-number are a dash in every form")
  func missing() {
    for value in [nil, Double.nan, .infinity, -.infinity] {
      #expect(ReportNumber.significant(value, 3) == "–")
      #expect(ReportNumber.fixed(value, decimals: 2) == "–")
      #expect(ReportNumber.percent(value) == "–")
      #expect(ReportNumber.smallPercent(value) == "–")
      #expect(ReportNumber.seconds(value) == "–")
      #expect(ReportNumber.withError(value, 0.1, digits: 3) == "–")
      #expect(ReportNumber.difference(predicted: value, measured: 1) == "–")
      #expect(ReportNumber.difference(predicted: 1, measured: value) == "–")
    }
    #expect(ReportNumber.bytes(nil) == "–")
    #expect(ReportNumber.withError(0.5, .nan, digits: 3) == "0.500")
  }

  @Test("what is shown is the value, rounded to the digits asked for")
  func readsBack() throws {
    var generator = SeededGenerator(state: 7)
    for _ in 0..<2000 {
      let exponent = Double.random(in: -12...12, using: &generator)
      let value = pow(10, exponent)
      let digits = Int.random(in: 2...6, using: &generator)
      let text = ReportNumber.significant(value, digits).replacing(",", with: "")
      let read = try #require(Double(text))
      // Half a unit of the last digit, and the rounding of the division.
      #expect(abs(read - value) <= 0.5001 * pow(10, floor(exponent) - Double(digits) + 1))
    }
  }

  @Test(
    "a value and its standard error have the same decimals",
    arguments: [
      (0.01731, 0.0004, "0.01731 ± 0.00040"), (0.0493, 0.0012, "0.0493 ± 0.0012"),
      (12.3456, 2.31, "12.3 ± 2.3"), (0.0000983, 0.0000079, "0.0000983 ± 0.0000079"),
      (0.5, 0, "0.500"), (0.1, 4, "0.1 ± 4.0"),
    ])
  func standardErrors(_ value: Double, _ error: Double, _ expected: String) {
    #expect(ReportNumber.withError(value, error, digits: 3) == expected)
  }

  @Test(
    "sizes and durations take the unit that suits them",
    arguments: [
      (0, "0 B"), (1023, "1,023 B"), (1024, "1.000 KiB"), (4_401_152, "4.197 MiB"),
      (5_368_709_120, "5.000 GiB"), (Int.max, "8,388,608 TiB"),
    ])
  func bytes(_ bytes: Int, _ expected: String) {
    #expect(ReportNumber.bytes(bytes) == expected)
  }

  @Test("durations")
  func durations() {
    #expect(ReportNumber.seconds(0.00061) == "0.610 ms")
    #expect(ReportNumber.seconds(3.05e-6) == "3.05 µs")
    #expect(ReportNumber.seconds(1.5) == "1,500 ms")
    #expect(ReportNumber.seconds(61.26) == "61.3 s")
    #expect(ReportNumber.seconds(0) == "0 ms")
  }

  @Test("differences are signed, and equal is not rounded to")
  func differences() {
    func difference(_ predicted: Double, _ measured: Double) -> String {
      ReportNumber.difference(predicted: predicted, measured: measured)
    }
    #expect(difference(4.2, 4.2) == "equal")
    #expect(difference(100, 100.001) == "+0.001 %")
    #expect(difference(100, 103.84) == "+3.8 %")
    #expect(difference(100, 95.16) == "−4.8 %")
    #expect(difference(1, 13.5) == "+1,250 %")
    #expect(difference(0, 1) == "–")
    #expect(difference(0, 0) == "equal")
    #expect(difference(.leastNonzeroMagnitude, 1e300) == "–")
  }

  @Test("shares")
  func shares() {
    #expect(ReportNumber.percent(0.125) == "12.5 %")
    #expect(ReportNumber.percent(1) == "100 %")
    #expect(ReportNumber.percent(0.0004) == "0.04 %")
    #expect(ReportNumber.percent(0) == "0 %")
    #expect(ReportNumber.smallPercent(0.0006) == "0.060 %")
    #expect(ReportNumber.smallPercent(0) == "0 %")
  }
}
