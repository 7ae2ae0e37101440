import ArgumentParser
import BitplanCore
import BitplanPipeline

/// Parsers of the search's rules, with the parser's own errors.
enum PlanRuleArguments {
  /// `PATTERN=FORMAT`.
  static func pin(_ text: String) throws -> Plan.Rules.Pin {
    let (pattern, value) = try halves(text, "lm_head=int8_g128s")
    guard let format = WeightFormat(identifier: value) else {
      throw ValidationError(
        "'\(value)' in '\(text)' is no format. Choose one of: "
          + WeightFormat.all.map(\.identifier).joined(separator: ", ") + ".")
    }
    return Plan.Rules.Pin(pattern: pattern, format: format)
  }

  /// `PATTERN=BITS`.
  static func floor(_ text: String) throws -> Plan.Rules.Floor {
    let (pattern, value) = try halves(text, "*.down_proj=4")
    guard let bits = Int(value), (1...16).contains(bits) else {
      throw ValidationError("'\(value)' in '\(text)' must be a whole number of bits, 1 to 16.")
    }
    return Plan.Rules.Floor(pattern: pattern, bitWidth: bits)
  }

  /// `qkv,gate_up`.
  static func fusions(_ text: String) throws -> [Plan.Rules.Fusion] {
    var result: [Plan.Rules.Fusion] = []
    for name in text.split(separator: ",") {
      guard let fusion = Plan.Rules.Fusion(rawValue: String(name)) else {
        throw ValidationError(
          "'\(name)' is nothing to fuse. Choose of: "
            + Plan.Rules.Fusion.allCases.map(\.rawValue).joined(separator: ", ") + ".")
      }
      if !result.contains(fusion) { result.append(fusion) }
    }
    return result
  }

  /// `bits`, `bytes`, `decode`, `prefill` or `energy`.
  static func kind(_ text: String) throws -> Budget.Kind {
    switch text {
    case "bits": return .bitsPerWeight
    case "bytes": return .storedBytes
    case "decode": return .decodeSecondsPerToken
    case "prefill": return .prefillSeconds
    case "energy": return .decodeJoulesPerToken
    default:
      throw ValidationError(
        "'\(text)' cannot be minimised. Choose one of: bits, bytes, decode, prefill, energy.")
    }
  }

  /// `4096` or `8k`, where k is 1,024.
  static func tokens(_ text: String) throws -> Int {
    let isThousands = text.hasSuffix("k") || text.hasSuffix("K")
    guard let number = Int(isThousands ? String(text.dropLast()) : text), number > 0,
      number <= 1 << 30
    else {
      throw ValidationError("'--context \(text)' must be a number of tokens, such as 4096 or 8k.")
    }
    return isThousands ? number * 1024 : number
  }

  /// `uniform:int4_g64`, `mixllm` or `random:7`, for studies.
  static func assignment(_ text: String) throws -> GivenAssignment {
    guard let given = GivenAssignment(parsing: text) else {
      throw ValidationError(
        "'--assign \(text)' must be uniform:FORMAT, mixllm or random:SEED.")
    }
    return given
  }

  private static func halves(_ text: String, _ example: String) throws -> (String, String) {
    // Names hold no '=', so the last one separates.
    guard let place = text.lastIndex(of: "="), place != text.startIndex else {
      throw ValidationError("'\(text)' must be written like '\(example)'.")
    }
    return (String(text[..<place]), String(text[text.index(after: place)...]))
  }
}
