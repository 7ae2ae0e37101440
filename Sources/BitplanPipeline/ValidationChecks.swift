package import BitplanCore
internal import Foundation

/// What `plan validate` holds a plan to.
package enum ValidationChecks {
  package static func all(
    _ predicted: Plan.Costs, _ measured: Plan.Costs, _ uniform: [UniformComparison], _ plan: Plan,
    _ request: ValidateRequest
  ) -> [ValidationCheck] {
    var checks = [
      ValidationCheck(
        name: "stored bytes", passed: predicted.storedBytes == measured.storedBytes,
        detail: "\(measured.storedBytes) measured, \(predicted.storedBytes) predicted")
    ]
    for budget in plan.budgets where budget.kind == .bitsPerWeight || budget.kind == .storedBytes {
      let value =
        budget.kind == .bitsPerWeight ? measured.bitsPerWeight : Double(measured.storedBytes)
      checks.append(
        ValidationCheck(
          name: "budget", passed: value <= budget.limit,
          detail: "\(Figures.significant(value, digits: 5)) of \(budget)"))
    }
    let simulated = plan.device?.simulated ?? true
    if !simulated {
      checks += [
        time(
          "decode time", predicted.decodeSecondsPerToken, measured.decodeSecondsPerToken,
          slowdown: measured.decodeSlowdown, request),
        time(
          "prefill time", predicted.prefillSeconds, measured.prefillSeconds,
          slowdown: measured.prefillSlowdown, request),
      ].compactMap { $0 }
    }
    let lossPairs = [
      (predicted.klDivergenceNatsPerToken, measured.klDivergenceNatsPerToken),
      (predicted.cosineDistance, measured.cosineDistance),
    ]
    for case (let p?, let m?) in lossPairs where p > 0 && m > 0 {
      let ratio = m / p
      checks.append(
        ValidationCheck(
          name: "loss",
          passed: ratio <= request.lossTolerance && ratio >= 1 / request.lossTolerance,
          detail: "measured is \(Figures.significant(ratio)) × predicted"))
    }
    if let best = uniform.compactMap(\.measuredLoss).min(),
      let loss = measured.klDivergenceNatsPerToken ?? measured.cosineDistance
    {
      checks.append(
        ValidationCheck(
          name: "better than uniform", passed: loss < best,
          detail: "\(Figures.significant(loss)) against \(Figures.significant(best)) for the best "
            + "uniform format of the same or smaller size"))
    }
    return checks
  }

  private static func time(
    _ name: String, _ predicted: Double?, _ measured: Double?, slowdown: Double?,
    _ request: ValidateRequest
  ) -> ValidationCheck? {
    guard let predicted, let measured, predicted > 0 else { return nil }
    let deviation = measured / (slowdown ?? 1) / predicted - 1
    let text = String(format: "measured %+.1f %% against predicted", deviation * 100)
    return ValidationCheck(
      name: name, passed: abs(deviation) <= request.timeTolerance,
      detail: text + (slowdown.map(Self.condition) ?? ""))
  }

  /// What a comparison of times leaves out.
  private static func condition(slowdown: Double) -> String {
    String(format: " at the profile's speed; the machine took %.2f × as long", slowdown)
  }
}
