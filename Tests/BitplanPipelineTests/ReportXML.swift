import Foundation

#if canImport(FoundationXML)
  import FoundationXML
#endif

/// An element of a parsed report.
struct ReportElement {
  let name: String
  let attributes: [String: String]
  var children: [ReportElement] = []
  /// The text directly inside and that of all descendants, in order.
  var text = ""

  /// This element and all below it, in document order.
  var all: [ReportElement] { [self] + children.flatMap(\.all) }

  /// All elements of a name.
  func elements(_ name: String) -> [ReportElement] { all.filter { $0.name == name } }

  /// All elements that have a class.
  func elements(style: String) -> [ReportElement] {
    all.filter { ($0.attributes["class"] ?? "").split(separator: " ").contains(Substring(style)) }
  }

  /// A numeric attribute.
  func number(_ attribute: String) -> Double? { attributes[attribute].flatMap(Double.init) }
}

/// Parses with Foundation's XML parser, which accepts only well-formed documents.
enum ReportXML {
  struct Malformed: Error, CustomStringConvertible {
    let description: String
  }

  static func parse(_ document: String) throws -> ReportElement {
    let builder = Builder()
    let parser = XMLParser(data: Data(document.utf8))
    parser.shouldResolveExternalEntities = false
    parser.delegate = builder
    guard parser.parse(), let root = builder.root else {
      throw Malformed(
        description: "line \(parser.lineNumber): \(String(describing: parser.parserError))")
    }
    return root
  }

  /// The source of every picture.
  static func pictures(in document: String) -> [String] {
    document.components(separatedBy: "<svg").dropFirst().compactMap { part in
      part.range(of: "</svg>").map { "<svg" + part[..<$0.upperBound] }
    }
  }

  private final class Builder: NSObject, XMLParserDelegate {
    private var stack: [ReportElement] = []
    var root: ReportElement?

    func parser(
      _ parser: XMLParser, didStartElement name: String, namespaceURI: String?,
      qualifiedName: String?, attributes: [String: String]
    ) {
      stack.append(ReportElement(name: name, attributes: attributes))
    }

    func parser(_ parser: XMLParser, foundCharacters text: String) {
      stack[stack.count - 1].text += text
    }

    func parser(
      _ parser: XMLParser, didEndElement name: String, namespaceURI: String?,
      qualifiedName: String?
    ) {
      let element = stack.removeLast()
      guard !stack.isEmpty else {
        root = element
        return
      }
      stack[stack.count - 1].children.append(element)
      stack[stack.count - 1].text += element.text
    }
  }
}
