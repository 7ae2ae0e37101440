import BitplanCore
import BitplanPipeline
import Foundation
import Testing

struct ReportPiecesTests {
  // MARK: Names

  @Test(
    "names give stack, layer, type and label",
    arguments: [
      ("model.layers.12.self_attn.q_proj", "model.layers", 12, "q"),
      ("model.layers.0.mlp.gate_up_proj", "model.layers", 0, "gate_up"),
      ("encoder.layer.0.attention.self.query", "encoder.layer", 0, "q"),
      ("encoder.layer.3.attention.self.key", "encoder.layer", 3, "k"),
      ("encoder.layer.3.attention.self.value", "encoder.layer", 3, "v"),
      ("encoder.layer.3.attention.output.dense", "encoder.layer", 3, "o"),
      ("encoder.layer.3.intermediate.dense", "encoder.layer", 3, "up"),
      ("encoder.layer.3.output.dense", "encoder.layer", 3, "down"),
      ("h.11.attn.c_attn", "h", 11, "c_attn"),
    ])
  func layeredNames(_ name: String, _ stack: String, _ layer: Int, _ label: String) {
    let place = OperatorPlace(name: name)
    #expect(place.stack == stack)
    #expect(place.layer == layer)
    #expect(place.label == label)
  }

  @Test(
    "names without a layer stand outside",
    arguments: [
      "lm_head", "pooler.dense", "", "0", "classifier.2", "..", "a.99999999999999999999.b",
    ])
  func outsideNames(_ name: String) {
    let place = OperatorPlace(name: name)
    #expect(place.layer == nil)
    #expect(place.type == name)
  }

  @Test("experts of a layer share a type")
  func experts() {
    let first = OperatorPlace(name: "model.layers.1.mlp.experts.0.up_proj")
    let second = OperatorPlace(name: "model.layers.1.mlp.experts.17.up_proj")
    #expect(first == second)
    #expect(first.type == "mlp.experts.*.up_proj")
  }

  @Test("embeddings and heads are told apart by name")
  func roles() {
    for name in ["model.embed_tokens", "embeddings.word_embeddings", "transformer.wte"] {
      #expect(OperatorPlace(name: name).looksLikeEmbedding)
    }
    for name in ["lm_head", "embed_out", "output"] {
      #expect(!OperatorPlace(name: name).looksLikeEmbedding)
      #expect(OperatorPlace(name: name).looksLikeHead)
    }
    #expect(!OperatorPlace(name: "model.layers.0.embed.q_proj").looksLikeEmbedding)
  }

  // MARK: Text

  @Test("control, direction and invisible characters become visible")
  func visibleNames() {
    #expect(SafeText.visible("a\u{1B}[31mb") == "a\\u{1B}[31mb")
    #expect(SafeText.visible("x\u{202E}y\u{200B}z\n") == "x\\u{202E}y\\u{200B}z\\u{A}")
    #expect(SafeText.visible("größe 模型 é") == "größe 模型 é")
  }

  @Test("escaping leaves nothing that markup reads")
  func escaping() {
    #expect(
      SafeText.escaped("<a href=\"x\" title='y'>&\u{0}\u{FFFF}")
        == "&lt;a href=&quot;x&quot; title=&#39;y&#39;&gt;&amp;\u{FFFD}\u{FFFD}")
  }

  @Test("shortened names keep both ends and fit")
  func shortening() {
    #expect(SafeText.shortened("model.embed_tokens", to: 18) == "model.embed_tokens")
    #expect(SafeText.shortened("model.embed_tokens", to: 10) == "mod…tokens")
    for width in 0...12 {
      #expect(SafeText.columns(SafeText.shortened("模型模型模型模型", to: width)) <= width)
    }
  }

  // MARK: Axes

  @Test("a logarithmic axis has at least three ticks, all of them on it")
  func logTicks() throws {
    var generator = SeededGenerator(state: 3)
    for _ in 0..<3000 {
      let low = pow(10, Double.random(in: -9...3, using: &generator))
      let values = [low, low * pow(10, Double.random(in: 0...9, using: &generator))]
      let axis = try #require(LogAxis(values))
      #expect(axis.ticks.count >= 3, "\(values) has ticks \(axis.ticks)")
      #expect(axis.ticks.count <= 14, "\(values) has ticks \(axis.ticks)")
      #expect(axis.ticks == axis.ticks.sorted())
      #expect(axis.ticks.allSatisfy(axis.range.contains))
      #expect(values.allSatisfy(axis.range.contains))
    }
  }

  @Test("equal factors are equal distances")
  func logPositions() throws {
    let axis = try #require(LogAxis([0.001, 1]))
    let positions = [0.001, 0.01, 0.1, 1].map(axis.position)
    let steps = zip(positions.dropFirst(), positions).map { $0 - $1 }
    // Three roundings of a logarithm near 1.
    #expect(steps.allSatisfy { abs($0 - steps[0]) < 1e-12 && $0 > 0.2 })
    #expect(axis.position(0) == 0)
    #expect(axis.position(-1) == 0)
    #expect(axis.position(1e9) == 1)
  }

  @Test("an axis without a positive value does not exist")
  func noAxis() {
    #expect(LogAxis([]) == nil)
    #expect(LogAxis([0, -1, .nan, .infinity]) == nil)
    #expect(LinearAxis([.nan], count: 5) == nil)
  }

  @Test("a linear axis has two ticks or more, also around a single value")
  func linearTicks() throws {
    for values in [[4.2], [0, 0], [2.1, 8.5], [3.99, 4.01], [-2, 1e6]] {
      let axis = try #require(LinearAxis(values, count: 6))
      #expect((2...14).contains(axis.ticks.count), "\(values) has ticks \(axis.ticks)")
      #expect(axis.ticks.allSatisfy(axis.range.contains))
      let shown = axis.ticks.map { ReportNumber.fixed($0, decimals: axis.decimals) }
      #expect(Set(shown).count == shown.count)
    }
  }

  // MARK: Colours

  /// WCAG 2.1 relative luminance.
  private static func luminance(_ color: UInt32) -> Double {
    let channels = [16, 8, 0].map { shift in
      let value = Double((color >> UInt32(shift)) & 0xFF) / 255
      return value <= 0.04045 ? value / 12.92 : pow((value + 0.055) / 1.055, 2.4)
    }
    return 0.2126 * channels[0] + 0.7152 * channels[1] + 0.0722 * channels[2]
  }

  private static func contrast(_ first: UInt32, _ second: UInt32) -> Double {
    let (a, b) = (luminance(first), luminance(second))
    return (max(a, b) + 0.05) / (min(a, b) + 0.05)
  }

  @Test("text on every bit width's colour has the contrast that WCAG AA asks for")
  func inkContrast() {
    for shade in Palette.shades {
      #expect(Self.contrast(shade.fill, shade.ink) >= 4.5, "\(shade.bitWidth) bits")
    }
  }

  @Test("more bits are darker, so the order survives colour blindness and grey print")
  func monotoneShades() {
    for (pale, dark) in zip(Palette.shades, Palette.shades.dropFirst()) {
      #expect(pale.bitWidth < dark.bitWidth)
      #expect(Self.luminance(pale.fill) > Self.luminance(dark.fill))
      let ratio = Self.contrast(pale.fill, dark.fill)
      #expect(ratio >= 1.15, "\(pale.bitWidth) and \(dark.bitWidth) bits: \(ratio)")
    }
  }

  @Test("every format has a shade")
  func shadeOfEveryFormat() {
    for format in WeightFormat.all {
      #expect(Palette.shade(bitWidth: format.bitWidth).bitWidth == format.bitWidth)
    }
    #expect(Palette.shade(bitWidth: 7).bitWidth == 6)
    #expect(Palette.shade(bitWidth: 0).bitWidth == 1)
    #expect(Palette.css(0x0B1014) == "#0b1014")
  }

  // MARK: Commands

  @Test("a budget in the commands parses to exactly the plan's limit")
  func budgetsReadBack() throws {
    var generator = SeededGenerator(state: 11)
    var budgets = ["4.2bits", "6MiB", "6.3MB", "0.8ms/token", "200ms/prefill", "700KB"]
      .map { try! Budget(parsing: $0) }
    for kind in Budget.Kind.allCases {
      for _ in 0..<500 {
        let limit = pow(10, Double.random(in: -6...9, using: &generator))
        budgets.append(Budget(kind: kind, limit: limit))
      }
    }
    for budget in budgets {
      let text = ReproduceCommands.argument(budget)
      #expect(try Budget(parsing: text) == budget, "\(text)")
    }
    #expect(
      budgets.prefix(5).map(ReproduceCommands.argument) == [
        "4.2bits", "6MiB", "6.3MB", "0.8ms/token", "200ms/prefill",
      ])
  }

  @Test("names become harmless file names and shell words")
  func shellWords() {
    #expect(ReproduceCommands.fileName("docs-llama") == "docs-llama")
    #expect(ReproduceCommands.fileName("a b;rm -rf $HOME") == "a-b-rm--rf--HOME")
    for name in ["", "-rf", "../etc", "..", "——"] {
      #expect(ReproduceCommands.fileName(name) == "model")
    }
    #expect(ReproduceCommands.quoted("calibration.txt") == "calibration.txt")
    #expect(ReproduceCommands.quoted("it's $(x)") == "'it'\\''s $(x)'")
    #expect(ReproduceCommands.quoted("") == "''")
    #expect(ReproduceCommands.quoted("-x") == "'./-x'")
  }
}
