import Foundation

/// A tree of HTML or SVG; texts and attribute values are escaped here and nowhere else.
///
/// What it writes is well-formed XML that HTML parsers read the same way.
package indirect enum Markup: Sendable {
  /// An element with attributes, in order, and children.
  case element(String, [(String, String)], [Markup])
  /// Text; escaped when written.
  case text(String)
  /// A style sheet of this module: written as it is, so never made from other people's text.
  case styleSheet(StaticString)
  /// A style sheet made of numbers and colours of this module.
  case computedStyles(String)

  /// An element.
  package static func tag(
    _ name: String, _ attributes: KeyValuePairs<String, String> = [:], _ children: [Markup] = []
  ) -> Markup {
    .element(name, attributes.map { ($0.key, $0.value) }, children)
  }

  /// An element that holds text.
  package static func tag(
    _ name: String, _ attributes: KeyValuePairs<String, String> = [:], text: String
  ) -> Markup {
    .element(name, attributes.map { ($0.key, $0.value) }, [.text(text)])
  }

  /// The markup as text.
  package func rendered() -> String {
    var output = ""
    write(to: &output)
    return output
  }

  private func write(to output: inout String) {
    switch self {
    case .text(let text):
      output += SafeText.escaped(text)
    case .styleSheet(let styles):
      output += styles.description
    case .computedStyles(let styles):
      output += styles
    case .element(let name, let attributes, let children):
      output += "<\(name)"
      for (key, value) in attributes { output += " \(key)=\"\(SafeText.escaped(value))\"" }
      if children.isEmpty, Self.emptyElements.contains(name) {
        output += "/>"
      } else {
        output += ">"
        for child in children { child.write(to: &output) }
        output += "</\(name)>"
      }
      if !Self.inlineElements.contains(name) { output += "\n" }
    }
  }

  /// Elements that HTML closes by itself, and SVG shapes.
  private static let emptyElements: Set<String> = [
    "meta", "br", "rect", "line", "circle", "path", "polygon",
  ]

  /// Elements inside a line of text, where a line break would be seen.
  private static let inlineElements: Set<String> = [
    "a", "b", "code", "small", "span", "strong", "tspan", "pre", "br", "summary",
  ]

  /// A coordinate or length with at most two decimals.
  package static func number(_ value: Double) -> String {
    guard value.isFinite else { return "0" }
    var text = String(format: "%.2f", value)
    while text.hasSuffix("0") { text.removeLast() }
    if text.hasSuffix(".") { text.removeLast() }
    return text == "-0" ? "0" : text
  }
}

/// SVG elements in user units.
package enum SVG {
  /// A picture with the title and description that screen readers speak.
  ///
  /// - Parameters:
  ///   - id: unique in the document; ids of title and description derive from it.
  ///   - minimumWidth: pixels below which the picture scrolls instead of shrinking.
  package static func picture(
    id: String, title: String, description: String, width: Double, height: Double,
    minimumWidth: Double, maximumWidth: Double, _ children: [Markup]
  ) -> Markup {
    .tag(
      "div", ["class": "scroll"],
      [
        .tag(
          "svg",
          [
            "xmlns": "http://www.w3.org/2000/svg", "id": id, "role": "img",
            "aria-labelledby": "\(id)-title \(id)-desc",
            "viewBox": "0 0 \(Markup.number(width)) \(Markup.number(height))",
            "style": "min-width:\(Markup.number(minimumWidth))px;"
              + "max-width:\(Markup.number(maximumWidth))px",
          ],
          [
            .tag("title", ["id": "\(id)-title"], text: title),
            .tag("desc", ["id": "\(id)-desc"], text: description),
          ] + children)
      ])
  }

  /// A rectangle.
  package static func rect(
    _ x: Double, _ y: Double, _ width: Double, _ height: Double, _ style: String,
    radius: Double = 0
  ) -> Markup {
    .tag(
      "rect",
      [
        "x": Markup.number(x), "y": Markup.number(y), "width": Markup.number(max(0, width)),
        "height": Markup.number(max(0, height)), "rx": Markup.number(radius), "class": style,
      ])
  }

  /// A straight line.
  package static func line(
    _ x1: Double, _ y1: Double, _ x2: Double, _ y2: Double, _ style: String
  ) -> Markup {
    .tag(
      "line",
      [
        "x1": Markup.number(x1), "y1": Markup.number(y1), "x2": Markup.number(x2),
        "y2": Markup.number(y2), "class": style,
      ])
  }

  /// Text whose baseline starts, centres or ends at a point.
  package static func text(
    _ x: Double, _ y: Double, _ content: String, _ style: String
  ) -> Markup {
    .tag("text", ["x": Markup.number(x), "y": Markup.number(y), "class": style], text: content)
  }

  /// A group with a tooltip.
  package static func group(_ style: String, tooltip: String, _ children: [Markup]) -> Markup {
    .tag("g", ["class": style], [.tag("title", text: tooltip)] + children)
  }
}
