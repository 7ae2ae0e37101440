import BitplanCore
import Foundation
import Testing

/// Artifacts damaged at one place: each must be refused with a message, none may stop the process.
struct ArtifactValidationTests {
  struct Damage: Sendable, CustomTestStringConvertible {
    let path: String
    /// JSON that is put at `path`; `nil` removes the key.
    let value: String?
    /// What the message must say.
    let mentions: String
    var testDescription: String { "\(path) = \(value ?? "removed")" }

    init(_ path: String, _ value: String?, _ mentions: String) {
      (self.path, self.value, self.mentions) = (path, value, mentions)
    }
  }

  @Test func samplesAreValidAndSurviveTheirFiles() throws {
    try SampleArtifacts.plan.validate(against: SampleArtifacts.operators)
    try SampleArtifacts.profile.validate()
    try SampleArtifacts.sensitivity.validate(against: SampleArtifacts.operators)
    func roundTrip<Value: Codable & Equatable>(_ value: Value) throws {
      let data = try JSONEncoder().encode(value)
      #expect(try JSONDecoder().decode(Value.self, from: data) == value)
    }
    try roundTrip(SampleArtifacts.plan)
    try roundTrip(SampleArtifacts.profile)
    try roundTrip(SampleArtifacts.sensitivity)
  }

  static let planDamages = [
    Damage("schemaVersion", "2", "1 is the highest"),
    Damage("schemaVersion", "0", "schemaVersion"),
    Damage("schemaVersion", nil, "schemaVersion"),
    Damage("model.sha256", #""short""#, "64 lower-case"),
    Damage("model.plannedWeightCount", "7", "plannedWeightCount"),
    Damage("model.plannedWeightCount", "1e300", "corrupted"),
    Damage("model.name", #""""#, "model.name"),
    Damage("device.profileSHA256", #""0123456789ABCDEF""#, "profileSHA256"),
    Damage("budgets.0.limit", "0", "positive"),
    Damage("budgets.0.limit", "-4.2", "positive"),
    Damage("budgets.0.limit", "1", "the plan predicts"),
    Damage("budgets.1.limit", "1000", "the plan predicts"),
    Damage("budgets.1.kind", #""bitsPerWeight""#, "repeats the kind"),
    Damage("budgets.1.kind", #""joules""#, "joules"),
    Damage("predicted.decodeSecondsPerToken", nil, "does not state"),
    Damage("predicted.storedBytes", "12345", "predicted.storedBytes"),
    Damage("predicted.storedBytes", "0.5", "corrupted"),
    Damage("predicted.bitsPerWeight", "4", "predicted.bitsPerWeight"),
    Damage("predicted.prefillTokens", nil, "prefillTokens"),
    Damage("predicted.prefillTokens", "0", "prefillTokens"),
    Damage("predicted.klDivergenceNatsPerToken", "-0.1", "klDivergenceNatsPerToken"),
    Damage("measured.decodeSlowdown", "0", "measured.decodeSlowdown"),
    Damage("measured.prefillSlowdown", "-1", "measured.prefillSlowdown"),
    Damage("measured.perplexity", "0", "measured.perplexity"),
    Damage("certificate.bound", "0.5", "certificate.bound"),
    Damage("certificate.relativeGap", "0.25", "certificate.relativeGap"),
    Damage("certificate.objective", "-1", "certificate.objective"),
    Damage("certificate.status", #""best""#, "best"),
    Damage("front.0.bitsPerWeight", "-1", "front[0]"),
    Damage("operators", "[]", "operators"),
    Damage("operators.0.outputFeatures", "0", "0×768"),
    Damage("operators.0.outputFeatures", "-160", "-160×768"),
    Damage("operators.0.inputFeatures", "9223372036854775807", "160×9223372036854775807"),
    Damage("operators.0.outputFeatures", "2147483648", "2147483648×768"),
    Damage("operators.0.inputFeatures", "2147483647", "343597465440 weights"),
    Damage("operators.0.outputFeatures", "161", "no format"),
    Damage("operators.0.outputFeatures", "159", "159 rows"),
    Damage("operators.1.name", #""model.layers.0.mlp.down_proj""#, "repeats the name"),
    Damage("operators.1.name", #""""#, "operators[1].name"),
    Damage("operators.0.segments", "[]", "segments"),
    Damage("operators.0.segments.0.format", #""int7_g64""#, "unknown format"),
    Damage("operators.0.segments.0.rows", "[]", "must have rows"),
    Damage("operators.0.segments.0.rows", "[[0]]", "row range"),
    Damage("operators.0.segments.0.rows", "[[0, 16, 32]]", "row range"),
    Damage("operators.0.segments.0.rows", "[[16, 0]]", "row range"),
    Damage("operators.0.segments.0.rows", "[[0, 0]]", "row range"),
    Damage("operators.0.segments.0.rows", "[[-16, 96]]", "row range"),
    Damage("operators.0.segments.0.rows", "[[0, 96], [64, 160]]", "row range"),
    Damage("operators.0.segments.0.rows", "[[128, 160], [0, 96]]", "row range"),
    Damage("operators.0.segments.0.rows", "[[0, 9223372036854775807]]", "row"),
    Damage("operators.0.segments.0.rows", "[[0, 99999999999]]", "row range"),
    Damage("operators.0.segments.0.rows", "[[0, 96], [128, 161]]", "160 rows"),
    Damage("operators.0.segments.0.rows", "[[0, 97], [128, 160]]", "two formats"),
    Damage("operators.0.segments.0.rows", "[[0, 95], [128, 160]]", "no format"),
    Damage("operators.0.segments.1", nil, "no format"),
    Damage("operators.0.segments.0.rows", #"[["0", "96"]]"#, "rows"),
  ]

  @Test("a damaged plan is refused", arguments: planDamages)
  func refusesDamagedPlan(_ damage: Damage) throws {
    try refuses(SampleArtifacts.plan, damage) { try $0.validate(against: nil) }
  }

  static let profileDamages = [
    Damage("schemaVersion", "9", "1 is the highest"),
    Damage("name", #""""#, "name"),
    Damage("key.threadCount", "0", "key.threadCount"),
    Damage("key.threadCount", "1e9", "key.threadCount"),
    Damage("key.kernelBuild", nil, "kernelBuild"),
    Damage("peaks.readBytesPerSecond", "0", "peaks.readBytesPerSecond"),
    Damage("peaks.int8MultiplyAddsPerSecond", "-1", "peaks.int8MultiplyAddsPerSecond"),
    Damage("workingSetBytes", "-1", "workingSetBytes"),
    Damage("measurements.0.seconds", "0", "measurements[0].seconds"),
    Damage("measurements.0.seconds", "-1e-5", "measurements[0].seconds"),
    Damage("measurements.0.spreadSeconds", "-1", "measurements[0].spreadSeconds"),
    Damage("measurements.0.repeats", "0", "measurements[0].repeats"),
    Damage("measurements.0.batch", "128", "repeats int4_g64 of 160×768 at batch 128"),
    Damage("measurements.0.batch", "0", "measurements[0].batch"),
    Damage("measurements.0.joules", "-1", "joules"),
    Damage("measurements.0.shape.outputFeatures", "0", "0×768"),
    Damage("measurements.0.shape.inputFeatures", "-768", "160×-768"),
    Damage("measurements.0.shape.inputFeatures", "9223372036854775807", "160×9223372036854775807"),
    Damage(
      "measurements.0.shape", #"{"inputFeatures": 2147483647, "outputFeatures": 2147483647}"#,
      "2147483647×2147483647"),
    Damage("measurements.0.format", #""q4""#, "unknown format"),
    Damage("corrections.0.factor", "0", "corrections[0].factor"),
    Damage("corrections.0.fixedSeconds", "-1", "corrections[0].fixedSeconds"),
    Damage("corrections.0.batch", "-1", "corrections[0].batch"),
    Damage("corrections.0.architectureSHA256", #""""#, "architectureSHA256"),
  ]

  @Test("a damaged device profile is refused", arguments: profileDamages)
  func refusesDamagedProfile(_ damage: Damage) throws {
    try refuses(SampleArtifacts.profile, damage) { try $0.validate() }
  }

  static let sensitivityDamages = [
    Damage("schemaVersion", "-1", "schemaVersion"),
    Damage("metric", #""perplexity""#, "perplexity"),
    Damage("calibration.windowCount", "0", "calibration.windowCount"),
    Damage("calibration.sha256", #""""#, "calibration.sha256"),
    Damage("options.formats", "[]", "options.formats"),
    Damage("options.formats", #"["int4_g64", "int4_g64"]"#, "options.formats[1]"),
    Damage("options.formats", #"["int8_g128s", "int4_g64"]"#, "rows[0].entries"),
    Damage("options.passCount", "-1", "options.passCount"),
    Damage("options.seed", "-1", "corrupted"),
    Damage("activationCost", "-1", "activationCost"),
    Damage("rows", "[]", "rows"),
    Damage("rows.1.entries.1", nil, "rows[1].entries"),
    Damage("rows.0.entries.0.value", "-0.001", "rows[0].entries[0].value"),
    Damage("rows.0.entries.0.value", nil, "not measured"),
    Damage("rows.0.entries.0.standardError", "-1", "standardError"),
    Damage("rows.0.entries.0.relativeOutputError", nil, "relativeOutputError"),
    Damage("rows.0.operatorDescription.layer", "-1", "layer"),
    Damage("rows.0.operatorDescription.role", #""conv""#, "conv"),
    Damage("rows.0.operatorDescription.shape.outputFeatures", "0", "0×768"),
    Damage("rows.1.operatorDescription.name", #""model.layers.0.mlp.down_proj""#, "rows[1]"),
    Damage("model.plannedWeightCount", "1", "plannedWeightCount"),
  ]

  @Test("a damaged sensitivity table is refused", arguments: sensitivityDamages)
  func refusesDamagedSensitivity(_ damage: Damage) throws {
    try refuses(SampleArtifacts.sensitivity, damage) { try $0.validate(against: nil) }
  }

  private func refuses<Artifact: Codable>(
    _ sample: Artifact, _ damage: Damage, validate: (Artifact) throws -> Void
  ) throws {
    let path = damage.path.split(separator: ".").map(String.init)
    // A number that `Double` cannot hold exactly goes in as text.
    let marker = "\"<damage>\""
    let value: JSONValue? = damage.value == nil ? nil : .string("<damage>")
    let whole = try #require(SampleArtifacts.json(sample).replacing(path[...], with: value))
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys]
    var text = String(decoding: try encoder.encode(whole), as: UTF8.self)
    if let value = damage.value {
      #expect(text.contains(marker), "the sample has no \(damage.path)")
      text = text.replacingOccurrences(of: marker, with: value)
    }
    let error = #expect(throws: (any Error).self) {
      try validate(JSONDecoder().decode(Artifact.self, from: Data(text.utf8)))
    }
    #expect(error is ArtifactError || error is DecodingError)
    let message = error.map { String(describing: $0) } ?? ""
    #expect(message.contains(damage.mentions), "\(message)")
  }

  static let notArtifacts = [
    "", "{", "[]", "null", "7", "{}", #"{"schemaVersion": "1"}"#, "\u{FEFF}",
    "{\"operators\": NaN}",
    String(repeating: "[", count: 400),
  ]

  @Test("what is no artifact at all is an error", arguments: notArtifacts)
  func refusesOtherText(_ text: String) {
    let data = Data(text.utf8)
    #expect(throws: (any Error).self) { try JSONDecoder().decode(Plan.self, from: data) }
    #expect(throws: (any Error).self) { try JSONDecoder().decode(DeviceProfile.self, from: data) }
    #expect(throws: (any Error).self) {
      try JSONDecoder().decode(SensitivityTable.self, from: data)
    }
  }

  @Test("numbers that JSON can write but `Double` cannot hold are an error")
  func refusesOverflowingNumbers() throws {
    for number in ["1e400", "-1e400", "NaN", "Infinity"] {
      let text = #"{"kind": "bitsPerWeight", "limit": \#(number)}"#
      #expect(throws: (any Error).self) {
        try JSONDecoder().decode(Budget.self, from: Data(text.utf8))
      }
    }
  }

  @Test("an artifact of another model is refused by name")
  func comparesWithTheModel() throws {
    let operators = SampleArtifacts.operators
    func refused(_ operators: [OperatorDescription], mentions text: String) {
      for validate in [SampleArtifacts.plan.validate, SampleArtifacts.sensitivity.validate] {
        let error = #expect(throws: ArtifactError.self) { try validate(operators) }
        #expect(error?.description.contains(text) == true)
      }
    }
    refused([operators[0]], mentions: "has 2 operators, and the model has 1")
    refused(operators + [operators[0]], mentions: "has 2 operators, and the model has 3")
    refused(operators.reversed(), mentions: "the model has 'lm_head' there")
    let wider = OperatorDescription(
      name: "lm_head", shape: MatrixShape(outputFeatures: 512, inputFeatures: 161), role: .head,
      layer: nil)
    refused([operators[0], wider], mentions: "512×160, and the model's is 512×161")
  }

  @Test("plans made in code are checked too, without stopping the process")
  func checksPlansMadeInCode() {
    var plan = SampleArtifacts.plan
    let shape = SampleArtifacts.operators[0].shape
    for rows in [[], [0..<0], [5..<5, 0..<160], [0..<200], [-4..<160]] as [[Range<Int>]] {
      plan.operators[0] = Plan.Assignment(
        name: "a", shape: shape, segments: [Plan.Segment(format: .f16, rows: rows)])
      #expect(throws: ArtifactError.self) { try plan.validate() }
    }
    plan = SampleArtifacts.plan
    plan.predicted.klDivergenceNatsPerToken = .nan
    #expect(throws: ArtifactError.self) { try plan.validate() }
    plan = SampleArtifacts.plan
    plan.predicted.decodeSecondsPerToken = .infinity
    #expect(throws: ArtifactError.self) { try plan.validate() }
  }

  @Test("the header says which version is supported before the rest is read")
  func headerComesFirst() throws {
    let header = try JSONDecoder().decode(
      ArtifactHeader.self, from: Data(#"{"schemaVersion": 3, "anything": []}"#.utf8))
    let error = #expect(throws: ArtifactError.self) { try header.validate(.plan) }
    #expect(error?.description.contains("is 3, and 1 is the highest") == true)
    try ArtifactHeader(schemaVersion: 1).validate(.deviceProfile)
  }
}
