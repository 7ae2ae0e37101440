internal import BitplanCore
internal import BitplanSearch

/// What a plan's rules mean for the operators of one model.
struct PlanDemands {
  private let rules: Plan.Rules
  private let names: [String]

  init(_ rules: Plan.Rules, names: [String]) {
    self.rules = rules
    self.names = names
  }

  /// The formats that an operator may take of those `wanted`, and whether it must take one as a
  /// whole because somebody names or shares it. Contradictions are found by ``rules(labels:)``.
  func formats(of name: String, wanted: [WeightFormat]) -> (formats: [WeightFormat], isWhole: Bool)
  {
    let pinned = rules.pins.filter { GlobPattern($0.pattern).matches(name) }.map(\.format)
    let isExcluded = rules.excluded.contains { GlobPattern($0).matches(name) }
    if isExcluded || !pinned.isEmpty {
      return (Array(Set(pinned + (isExcluded ? [.f16] : []))).sorted(), true)
    }
    let floor = rules.floors.filter { GlobPattern($0.pattern).matches(name) }.map(\.bitWidth).max()
    let allowed = wanted.filter { $0.bitWidth >= floor ?? 0 }
    let isFused = rules.fused.contains { fusion in
      group(fusion).patterns.contains { $0.matches(name) }
    }
    return (allowed.isEmpty ? wanted : allowed, isFused)
  }

  /// The search's rules, for candidates with these formats.
  ///
  /// - Parameter formats: the formats of every candidate of every operator.
  func rules(formats: [[[WeightFormat]]]) -> (rules: AssignmentRules, labels: [[String]]) {
    let labels = formats.map { $0.map(Self.label) }
    var pins = rules.pins.map { AssignmentRules.Pin($0.pattern, to: [$0.format.identifier]) }
    pins += rules.excluded.map { AssignmentRules.Pin($0, to: [WeightFormat.f16.identifier]) }
    for floor in rules.floors {
      let high = formats.joined().filter { $0.allSatisfy { $0.bitWidth >= floor.bitWidth } }
      pins.append(AssignmentRules.Pin(floor.pattern, to: Set(high.map(Self.label))))
    }
    return (AssignmentRules(pins: pins, groups: rules.fused.map(group)), labels)
  }

  /// A demand that cannot be met, in the words of the command line.
  func check() throws(PipelineError) {
    let patterns =
      rules.pins.map { ("--pin '\($0.pattern)=\($0.format)'", $0.pattern) }
      + rules.excluded.map { ("--exclude '\($0)'", $0) }
      + rules.floors.map { ("--floor '\($0.pattern)=\($0.bitWidth)'", $0.pattern) }
    for (option, pattern) in patterns {
      let glob = GlobPattern(pattern)
      guard names.contains(where: glob.matches) else {
        throw PipelineError(
          .invalidInput,
          "\(option) matches no operator. Operators have names such as "
            + "\(examples); '*' stands for any text.")
      }
    }
    for fusion in rules.fused {
      let group = group(fusion)
      guard names.contains(where: { name in group.patterns.contains { $0.matches(name) } }) else {
        throw PipelineError(
          .invalidInput,
          "--fuse \(fusion.rawValue) finds none of its operators in this model. Leave it out.")
      }
    }
    for name in names {
      let pinned = Set(
        rules.pins.filter { GlobPattern($0.pattern).matches(name) }.map(\.format.identifier)
          + (rules.excluded.contains { GlobPattern($0).matches(name) } ? ["f16"] : []))
      guard pinned.count <= 1 else {
        throw PipelineError(
          .invalidInput,
          "Operator '\(name)' is pinned to \(pinned.sorted().joined(separator: " and ")). Name each "
            + "operator in one --pin or --exclude.")
      }
    }
  }

  private var examples: String {
    [names.first, names.dropFirst().first, names.last].compactMap { $0 }.map { "'\($0)'" }
      .joined(separator: ", ")
  }

  /// Operators that a runtime computes as one, by the names of this model's family.
  private func group(_ fusion: Plan.Rules.Fusion) -> AssignmentRules.Group {
    switch fusion {
    case .queryKeyValue:
      let encoder = AssignmentRules.Group(["*.query", "*.key", "*.value"])
      let isEncoder = names.contains { name in encoder.patterns.contains { $0.matches(name) } }
      return isEncoder ? encoder : .qkv
    case .gateUp: return .gateUp
    }
  }

  private static func label(_ formats: [WeightFormat]) -> String {
    formats.map(\.identifier).joined(separator: "+")
  }
}
