public import BitplanCore
internal import Foundation

/// `plan show`: a plan for people.
extension Workbench {
  /// The plan with its table, and the report written where asked.
  public func show(
    planFile: String, html: String?, sensitivity: String?, profile: String?
  ) throws(PipelineError) -> (plan: Plan, text: String) {
    let plan = try Self.readPlan(planFile)
    var table: SensitivityTable?
    if let sensitivity { table = try Self.readSensitivity(URL(filePath: sensitivity)).table }
    var device: DeviceProfile?
    if let profile { device = try ProfileStore.read(URL(filePath: profile)).profile }
    let report = PlanReport(
      plan: plan, sensitivity: table, profile: device,
      comparisons: try Self.comparisons(beside: planFile),
      front: try Self.front(beside: planFile, of: plan))
    var text = report.text()
    if let html {
      do {
        try Data(report.html().utf8).write(to: URL(filePath: html), options: .atomic)
      } catch {
        throw PipelineError(
          .cannotWrite, "The report '\(html)' cannot be written: \(error.localizedDescription).")
      }
      text += "\n\nReport written to \(html)"
    }
    return (plan, text)
  }
}
