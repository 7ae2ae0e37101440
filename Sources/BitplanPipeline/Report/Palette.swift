/// The colours of bit widths: one sequence from pale to dark, so that it also holds for every kind
/// of colour blindness and in grey print. Text on a colour is black or white, whichever reads better.
package enum Palette {
  /// One bit width's colours.
  package struct Shade: Sendable {
    /// The smallest bit width shown in this colour.
    package let bitWidth: Int
    /// Fill, `0xRRGGBB`.
    package let fill: UInt32
    /// Text on the fill, `0xRRGGBB`.
    package let ink: UInt32
    /// The nearest colour among the 256 of terminals.
    package let terminalFill: Int
    /// Whether terminals write white on it.
    package let terminalInkIsWhite: Bool
  }

  /// Every shade, by ascending bit width.
  package static let shades: [Shade] = [
    Shade(bitWidth: 1, fill: 0xFFFCEB, ink: black, terminalFill: 230, terminalInkIsWhite: false),
    Shade(bitWidth: 2, fill: 0xFBE88E, ink: black, terminalFill: 229, terminalInkIsWhite: false),
    Shade(bitWidth: 3, fill: 0xC6DF83, ink: black, terminalFill: 150, terminalInkIsWhite: false),
    Shade(bitWidth: 4, fill: 0x78C8AD, ink: black, terminalFill: 79, terminalInkIsWhite: false),
    Shade(bitWidth: 5, fill: 0x3F9FC0, ink: black, terminalFill: 74, terminalInkIsWhite: false),
    Shade(bitWidth: 6, fill: 0x2A78B5, ink: white, terminalFill: 25, terminalInkIsWhite: true),
    Shade(bitWidth: 8, fill: 0x2A4B96, ink: white, terminalFill: 18, terminalInkIsWhite: true),
    Shade(bitWidth: 16, fill: 0x1B1F52, ink: white, terminalFill: 17, terminalInkIsWhite: true),
  ]

  /// The shade for a bit width: the widest that is not wider.
  package static func shade(bitWidth: Int) -> Shade {
    shades.last { $0.bitWidth <= bitWidth } ?? shades[0]
  }

  /// A colour as CSS writes it.
  package static func css(_ color: UInt32) -> String {
    let digits = String(color, radix: 16)
    return "#" + String(repeating: "0", count: 6 - digits.count) + digits
  }

  private static let black: UInt32 = 0x0B1014
  private static let white: UInt32 = 0xFFFFFF
}
