package import BitplanCore
internal import BitplanDevices

/// The commands that make a plan again.
package struct ReproduceCommands {
  /// One command a line, for a shell.
  package let lines: [String]

  /// Commands for the plan; `MODEL` stands for the checkpoint's path, which no plan knows.
  package init(plan: Plan, sensitivity: SensitivityTable?, profile: DeviceProfile?) {
    let base = Self.fileName(plan.model.name)
    var lines: [String] = []
    let branches =
      sensitivity?.options.branches.map {
        " --branches \($0.map(\.identifier).joined(separator: ","))"
      } ?? ""
    if let device = plan.device, !device.simulated {
      let threads = profile.map { " --threads \($0.key.threadCount)" } ?? ""
      lines.append(
        "plan profile --for MODEL\(threads)\(branches) --out \(Self.fileName(device.name)).json")
    } else if let device = plan.device, let name = Self.catalogName(device.name) {
      lines.append(
        "plan profile --device sim:\(name) --for MODEL\(branches) --out \(Self.fileName(device.name)).json"
      )
    }
    let calibration =
      sensitivity.map { " --calibration \(Self.quoted(SafeText.visible($0.calibration.name)))" }
      ?? ""
    let transforms =
      sensitivity.map { " --transforms \(Self.quoted($0.options.transforms ?? "none"))" } ?? ""
    lines.append(
      "plan measure MODEL\(calibration)\(transforms)\(branches) --out \(base).sensitivity.json")
    var search = ["plan search MODEL"]
    search += plan.budgets.map { "--budget \(Self.argument($0))" }
    search += Self.options(plan)
    if let device = plan.device { search.append("--profile \(Self.fileName(device.name)).json") }
    search.append("--sensitivity \(base).sensitivity.json")
    search.append("--out \(base).plan.json")
    lines.append(search.joined(separator: " "))
    lines.append("plan validate MODEL --plan \(base).plan.json")
    lines.append("plan show \(base).plan.json --html \(base).html")
    self.lines = lines
  }

  /// Goal, context, rules and check as the command line takes them.
  private static func options(_ plan: Plan) -> [String] {
    var options: [String] = []
    if let goal = plan.goal {
      let word =
        switch goal.minimized {
        case .bitsPerWeight: "bits"
        case .storedBytes: "bytes"
        case .decodeSecondsPerToken: "decode"
        case .prefillSeconds: "prefill"
        case .decodeJoulesPerToken: "energy"
        }
      options += ["--max-kl \(plain(goal.maximumLoss))", "--minimize \(word)"]
    }
    if let context = plan.context { options.append("--context \(context.tokenCount)") }
    if let rules = plan.rules {
      func pattern(_ text: String) -> String { quoted(SafeText.visible(text)) }
      options += rules.pins.map { "--pin \(pattern("\($0.pattern)=\($0.format.identifier)"))" }
      options += rules.excluded.map { "--exclude \(pattern($0))" }
      options += rules.floors.map { "--floor \(pattern("\($0.pattern)=\($0.bitWidth)"))" }
      if !rules.fused.isEmpty {
        options.append("--fuse \(rules.fused.map(\.rawValue).joined(separator: ","))")
      }
    }
    if plan.check == nil { options.append("--no-check") }
    return options
  }

  /// The built-in device that a profile's name tells, if it does.
  private static func catalogName(_ profileName: String) -> String? {
    let name = profileName.hasPrefix("sim-") ? String(profileName.dropFirst(4)) : ""
    return DeviceCatalog.devices[name] == nil ? nil : name
  }

  /// A budget as the command line takes it: parsing it gives exactly the same limit.
  package static func argument(_ budget: Budget) -> String {
    let limit = budget.limit
    let candidates: [String]
    switch budget.kind {
    case .bitsPerWeight: candidates = ["\(plain(limit))bits"]
    case .storedBytes:
      // Division by a power of two is exact, so one of these always comes back.
      candidates = [
        "\(plain(limit / 1_048_576))MiB", "\(plain(limit / 1e6))MB", "\(plain(limit / 1024))KiB",
      ]
    case .decodeSecondsPerToken:
      candidates = ["\(plain(limit * 1e3))ms/token", "\(plain(limit))s/token"]
    case .prefillSeconds:
      candidates = ["\(plain(limit * 1e3))ms/prefill", "\(plain(limit))s/prefill"]
    case .decodeJoulesPerToken:
      candidates = ["\(plain(limit * 1e3))mJ/token", "\(plain(limit))J/token"]
    }
    let exact = candidates.filter { (try? Budget(parsing: $0))?.limit == limit }
    // The usual unit where it reads well, else the shortest.
    return exact.first { $0.count <= 14 } ?? exact.min { $0.count < $1.count } ?? candidates[0]
  }

  /// The shortest text that reads back as `value`, without a trailing `.0`.
  private static func plain(_ value: Double) -> String {
    let text = "\(value)"
    return text.hasSuffix(".0") ? String(text.dropLast(2)) : text
  }

  /// A name made fit for a file: letters, digits, dots, dashes and underscores.
  package static func fileName(_ name: String) -> String {
    let kept = name.unicodeScalars.map { scalar in
      scalar.isASCII && (scalar.properties.isAlphabetic || scalar.properties.numericType != nil)
        || "._-".unicodeScalars.contains(scalar) ? Character(scalar) : "-"
    }
    let text = String(kept.prefix(80))
    let isUsable =
      text.contains { $0.isLetter || $0.isNumber } && !text.hasPrefix("-") && !text.hasPrefix(".")
    return isUsable ? text : "model"
  }

  /// `text` as one word of a shell.
  package static func quoted(_ text: String) -> String {
    let isPlain =
      !text.isEmpty && !text.hasPrefix("-")
      && text.unicodeScalars.allSatisfy {
        $0.isASCII && ($0.properties.isAlphabetic || $0.properties.numericType != nil)
          || "._-/".unicodeScalars.contains($0)
      }
    let text = text.hasPrefix("-") ? "./" + text : text
    return isPlain
      ? text
      : "'"
        + text.split(
          separator: "'", omittingEmptySubsequences: false
        ).joined(separator: "'\\''") + "'"
  }
}
