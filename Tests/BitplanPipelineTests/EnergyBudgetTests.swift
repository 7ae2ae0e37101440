import BitplanCore
import BitplanPipeline
import Foundation
import Testing

/// Energy as a budget: present, absent, and never taken for zero.
struct EnergyBudgetTests {
  /// Joules of one operator in each of ``PlanSearchTests/formats``.
  static let joules = [4e-3, 1e-3, 3e-3]

  static func profile(joules: [Double?]) -> ProfileStore.Stored {
    let stored = PlanSearchTests.profile()
    var profile = stored.profile
    profile.measurements = profile.measurements.map { old in
      let index = PlanSearchTests.formats.firstIndex(of: old.format) ?? 0
      return DeviceProfile.Measurement(
        format: old.format, shape: old.shape, batch: old.batch, seconds: old.seconds,
        spreadSeconds: 0, repeats: 1, joules: joules[index])
    }
    return ProfileStore.Stored(profile: profile, file: stored.file, sha256: stored.sha256)
  }

  @Test("an energy budget gives the best of all plans that meet it", arguments: [false, true])
  func energyBudget(_ bands: Bool) throws {
    let profile = Self.profile(joules: Self.joules)
    let limit = 9e-3
    let plan = try PlanSearchTests.search(
      ["6.4bits", "9mJ/token"], bands: bands, profile: profile)
    let spent = try #require(plan.predicted.decodeJoulesPerToken)
    #expect(spent <= limit * (1 + 1e-12))
    try plan.validate(against: PlanSearchTests.operators)
    guard !bands else { return }
    var best = Double.infinity
    let bytes = Int(6.4 * Double(plan.model.plannedWeightCount) / 8)
    for code in 0..<81 {
      let picks = (0..<4).map { code / [1, 3, 9, 27][$0] % 3 }
      let size = picks.reduce(0) {
        $0 + PlanSearchTests.formats[$1].storedBytes(PlanSearchTests.shape)
      }
      guard size <= bytes, picks.reduce(0, { $0 + Self.joules[$1] }) <= limit else { continue }
      best = min(
        best, picks.enumerated().reduce(0.001) { $0 + PlanSearchTests.loss($1.offset, $1.element) })
    }
    #expect(best.isFinite)
    #expect(plan.certificate.objective <= best * (1 + 1e-4))
    #expect(plan.certificate.objective >= best * (1 - 1e-9))
    let free = try PlanSearchTests.search(["6.4bits"], profile: profile)
    #expect(free.certificate.objective < plan.certificate.objective)
    #expect(try #require(free.predicted.decodeJoulesPerToken) > limit)
  }

  @Test("without joules for every format the budget is refused, and none are predicted")
  func absent() throws {
    for joules in [[nil, nil, nil], [1e-3, nil, 1e-3]] as [[Double?]] {
      let profile = Self.profile(joules: joules)
      #expect(try PlanSearchTests.search(["5bits"], profile: profile).predicted.storedBytes > 0)
      #expect {
        try PlanSearchTests.search(["9mJ/token"], profile: profile)
      } throws: { error in
        (error as? PipelineError)?.kind == .missingInput
      }
    }
    let none = try PlanSearchTests.search(["5bits"])
    #expect(none.predicted.decodeJoulesPerToken == nil)
  }

  @Test("joules are read and written with their unit")
  func parsing() throws {
    for (text, joules) in [("30mJ/token", 0.03), ("2.5J/token", 2.5), ("7uJ/token", 7e-6)] {
      let budget = try Budget(parsing: text)
      #expect(budget.kind == .decodeJoulesPerToken)
      #expect(abs(budget.limit - joules) <= joules.ulp)
    }
    #expect(try Budget(parsing: "30mJ/token").description == "30 mJ per decoded token")
    for text in ["30mJ", "0J/token", "-1mJ/token", "nanJ/token", "30kJ/token", "mJ/token"] {
      #expect(throws: Budget.ParsingError.self) { try Budget(parsing: text) }
    }
  }
}
