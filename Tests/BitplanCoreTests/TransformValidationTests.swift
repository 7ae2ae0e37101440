import BitplanCore
import Testing

/// Transforms in artifacts: what is refused, and where the error says it is.
struct TransformValidationTests {
  static func problem(_ transforms: [EquivalenceTransform]) -> String? {
    var plan = SampleArtifacts.plan
    plan.transforms = transforms
    var table = SampleArtifacts.sensitivity
    table.transforms = transforms
    do {
      try table.validate()
      try plan.validate()
      return nil
    } catch {
      return error.path
    }
  }

  @Test("well-formed lists pass, none included")
  func accepts() {
    #expect(Self.problem([]) == nil)
    #expect(Self.problem(SampleArtifacts.transforms) == nil)
    for slot in EquivalenceTransform.Slot.allCases where ![.residual, .downInput].contains(slot) {
      #expect(Self.problem([.scaling(slot, layer: 5, .identity)]) == nil)
    }
  }

  @Test("what cannot be made is refused with its place")
  func refuses() {
    let rule = ScalingRule(.mean, inputExponent: 0.5)
    #expect(Self.problem([.scaling(.residual, layer: 0, rule)]) == "transforms[0]")
    #expect(Self.problem([.rotation(.residual, layer: 3, seed: 1)]) == "transforms[0]")
    #expect(Self.problem([.rotation(.value, layer: nil, seed: 1)]) == "transforms[0].layer")
    #expect(Self.problem([.rotation(.up, layer: 1, seed: 1)]) == "transforms[0].slot")
    #expect(Self.problem([.rotation(.downInput, layer: 1, seed: 1)]) == nil)
    #expect(Self.problem([.rotation(.downInput, layer: nil, seed: 1)]) == "transforms[0].layer")
    #expect(Self.problem([.scaling(.downInput, layer: 1, rule)]) == "transforms[0].slot")
    #expect(Self.problem([.kronecker(layer: 1, seed: 1)]) == nil)
    #expect(Self.problem([.kronecker(layer: -1, seed: 1)]) == "transforms[0].layer")
    // A Kronecker product is a rotation as well.
    #expect(
      Self.problem([.rotation(.downInput, layer: 1, seed: 1), .kronecker(layer: 1, seed: 1)])
        == "transforms[1]")
    #expect(Self.problem([.scaling(.up, layer: -1, rule)]) == "transforms[0].layer")
    #expect(Self.problem([.scaling(.up, layer: 4096, rule)]) == "transforms[0].layer")
    for value in [-0.1, 1.1, .nan, .infinity] {
      #expect(
        Self.problem([.scaling(.up, layer: 0, ScalingRule(.mean, inputExponent: value))])
          == "transforms[0].rule.inputExponent")
      #expect(
        Self.problem([
          .scaling(.up, layer: 0, ScalingRule(.mean, inputExponent: 0, weightExponent: value))
        ]) == "transforms[0].rule.weightExponent")
    }
    #expect(
      Self.problem([.scaling(.up, layer: 0, rule), .scaling(.up, layer: 0, .identity)])
        == "transforms[1]")
  }

  @Test("a scaling with a seed, a rotation with a rule, and either without its own are refused")
  func refusesMixtures() throws {
    let scaling = SampleArtifacts.transforms[2]
    let rotation = SampleArtifacts.transforms[1]
    func decoded(_ value: JSONValue) throws -> EquivalenceTransform {
      try SampleArtifacts.decoded(value)
    }
    let scalingJSON = try SampleArtifacts.json(scaling)
    let rotationJSON = try SampleArtifacts.json(rotation)
    let rule = try #require(scalingJSON["rule"])
    let cases: [(JSONValue?, String)] = [
      (scalingJSON.replacing(["seed"], with: .number(1)), "transforms[0].seed"),
      (scalingJSON.replacing(["rule"], with: nil), "transforms[0].rule"),
      (rotationJSON.replacing(["rule"], with: rule), "transforms[0].rule"),
      (rotationJSON.replacing(["seed"], with: nil), "transforms[0].seed"),
      (rotationJSON.replacing(["kind"], with: .string("kronecker")), "transforms[0].slot"),
    ]
    for (value, path) in cases {
      #expect(Self.problem([try decoded(try #require(value))]) == path)
    }
  }
}
