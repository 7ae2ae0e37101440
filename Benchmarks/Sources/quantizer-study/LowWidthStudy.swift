import BitplanCore
import BitplanEngine
import BitplanKernels
import BitplanPipeline
import BitplanQuantizers
import BitplanSensitivity
import StudyRecords

/// One to four bits as BiLLM, OneBit and SplitQuant find them, at what they really cost, beside
/// formats of this program and beside the plan that the search makes of as many bytes.
///
/// All linear operators are stored one way; head and embedding are `int4_g64` throughout. Weights are
/// executed as floats with activations rounded to 8 bits as the kernels round them.
struct LowWidthStudy {
  let bench: TechniqueBench

  private struct Way {
    var name: String
    var stored: (_ index: Int, _ changed: TechniqueModel) -> (weights: FloatMatrix, bytes: Int)
  }

  func run() throws -> [Record] {
    let changed = try bench.changed(.none)
    let model = changed.model
    let search = TechniqueSearch(bench: bench)
    let technique = Technique(
      name: "plan",
      formats: (WeightFormat.candidates + WeightFormat.all.filter { $0.coding == .binary })
        .sorted())
    let table = try search.sensitivity(technique, changed)
    var records: [Record] = []
    Table.line(
      ["linear operators", "their bits", "all bits", "KL", "perplexity", "plan's KL"],
      widths: [44, 10, 10, 10, 11, 10])
    for way in ways {
      var variant = model
      var (linearBytes, linearWeights, otherBytes) = (0, 0, 0)
      for (index, description) in model.operators.enumerated() {
        let isLinear = description.role == .linear
        let (weights, bytes) = (isLinear ? way : rest).stored(index, changed)
        variant.weights[index] = .float(
          weights, activationGroupSize: description.isMultiplied ? 128 : nil)
        if isLinear {
          linearBytes += bytes
          linearWeights += description.shape.weightCount
        } else {
          otherBytes += bytes
        }
      }
      let report = try bench.held.report(variant)
      let bytes = linearBytes + otherBytes
      let plan = try search.plan(technique, storedBytes: Double(bytes), table)
      let planned = try plan.map {
        try bench.held.loss(
          model.replacingAll(with: search.packed($0.operators, technique, changed)))
      }
      let linearBits = Double(linearBytes) * 8 / Double(linearWeights)
      let bits = Double(bytes) * 8 / Double(model.identity.plannedWeightCount)
      Table.line(
        [
          way.name, Table.number(linearBits), Table.number(bits), Table.number(report.mean),
          Table.number(report.perplexity ?? 0), planned.map(Table.number) ?? "none",
        ], widths: [44, 10, 10, 10, 11, 10])
      var reference = [
        "linearBitsPerWeight": linearBits, "bitsPerWeight": bits,
        "standardError": report.standardError, "perplexity": report.perplexity ?? 0,
      ]
      reference["planOfTheSameBytes"] = planned
      records.append(
        Record(
          metric: "klDivergenceNatsPerToken", value: report.mean, unit: "nats/token",
          conditions: ["linear operators": way.name], reference: reference))
    }
    return records
  }

  private var ways: [Way] {
    [
      Way(name: "OneBit's start: signs, two vectors") { index, changed in
        let found = SignFactors(changed.model.floatWeights(of: index))
        return (found.product, found.storedBytes)
      },
      format("bcq1_g128"),
      format("int2_g128"),
      Way(name: "BiLLM without salient columns") { binarized($0, $1, 0) },
      format("bcq2_g128"),
      Way(name: "BiLLM") { binarized($0, $1, SplitBinarization.salientLimit) },
      format("int2_g32"),
      Way(name: "SplitQuant, 2 bits a cluster") { split($0, $1, 2) },
      format("nl4_g128"),
      Way(name: "SplitQuant, 4 bits a cluster") { split($0, $1, 4) },
      format("int6_g128"),
    ]
  }

  /// Head and embedding.
  private var rest: Way { format("int4_g64") }

  private func format(_ identifier: String) -> Way {
    let quantizer = OperatorQuantizer(.errorFeedback, pool: bench.context.pool)
    return Way(name: "\(identifier), GPTQ and descent") { index, changed in
      let weights = changed.model.floatWeights(of: index)
      let format = WeightFormat(identifier: identifier) ?? .f16
      let codes = quantizer.quantize(
        weights, as: format, changed.statistics.operators[index].input)
      return (
        FloatMatrix(rows: weights.rows, columns: weights.columns, values: codes.dequantized()),
        format.storedBytes(changed.model.operators[index].shape)
      )
    }
  }

  private func binarized(
    _ index: Int, _ changed: TechniqueModel, _ salientLimit: Int
  ) -> (weights: FloatMatrix, bytes: Int) {
    guard let curvature = changed.statistics.operators[index].input.curvature else {
      preconditionFailure("linear operators have a curvature")
    }
    let found = SplitBinarization(
      changed.model.floatWeights(of: index), curvature: curvature, salientLimit: salientLimit)
    return (found.restored, found.storedBytes)
  }

  private func split(
    _ index: Int, _ changed: TechniqueModel, _ bits: Int
  ) -> (weights: FloatMatrix, bytes: Int) {
    let found = SplitCodebook(changed.model.floatWeights(of: index), bitWidth: bits)
    return (found.restored, found.storedBytes)
  }
}
