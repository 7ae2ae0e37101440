import BitplanCore
import BitplanEngine
import BitplanKernels
import BitplanPipeline
import BitplanQuantizers
import BitplanSensitivity

/// The program's own steps for one technique: measure, search, pack.
struct TechniqueSearch {
  let bench: TechniqueBench

  /// As `plan measure` makes it.
  func sensitivity(
    _ technique: Technique, _ changed: TechniqueModel
  ) throws -> SensitivityTable {
    let key = TechniqueBench.TableKey(
      method: technique.method, formats: technique.formats, branches: technique.branches,
      change: technique.change)
    if let known = bench.table, known.key == key { return known.table }
    let (model, formats) = (changed.model, technique.formats)
    let design = MaskDesign(
      operatorCount: model.operators.count, formats: formats, seed: 1, hasGradients: true)
    let estimation = MaskGuidedEstimation(
      model: model, formats: formats, branches: technique.branches, design: design,
      variants: VariantStore(
        model: model, statistics: changed.statistics.operators, quantizer: quantizer(technique)),
      statistics: changed.statistics.operators, gradients: changed.statistics.gradients,
      tokenShares: bench.tokenShares, loss: changed.meter.loss)
    let rows = try estimation.run(tokens: bench.calibration.tokens, journal: nil) { _ in }.rows
    let table = SensitivityTable(
      model: model.identity, metric: .klDivergenceNatsPerToken,
      calibration: bench.calibration.calibration,
      options: SensitivityTable.Options(
        method: "salience", seed: 1, passCount: design.passCount, formats: formats,
        quantizer: technique.method.provenance,
        branches: technique.branches.isEmpty ? nil : technique.branches.sorted()),
      activationCost: changed.activationCost, rows: rows)
    bench.table = (key, table)
    return table
  }

  private func quantizer(_ technique: Technique) -> OperatorQuantizer {
    OperatorQuantizer(technique.method, pool: bench.context.pool)
  }

  /// The plan with the least predicted loss, or `nil` where no choice of formats is as small.
  func plan(
    _ technique: Technique, storedBytes: Double, _ table: SensitivityTable
  ) throws -> Plan? {
    var inputs = PlanSearch.Inputs(
      sensitivity: table, sensitivitySHA256: "", profile: nil, architectureSHA256: nil,
      budgets: [Budget(kind: .storedBytes, limit: storedBytes)])
    inputs.granularity = technique.granularity
    inputs.branches = technique.branches
    inputs.frontPoints = 0
    inputs.resampleCount = 0
    do { return try PlanSearch.run(inputs).plan } catch {
      guard error.kind == .infeasible else { throw error }
      return nil
    }
  }

  /// Every operator as a plan says.
  func packed(
    _ operators: [Plan.Assignment], _ technique: Technique, _ changed: TechniqueModel
  ) throws -> [PackedOperator] {
    let quantizer = quantizer(technique)
    return try operators.enumerated().map { index, assignment in
      try quantizer.packed(
        changed.model.floatWeights(of: index), as: assignment,
        changed.statistics.operators[index].input)
    }
  }
}
