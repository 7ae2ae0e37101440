internal import BitplanCore
internal import BitplanSearch

/// How firm a plan is, given how uncertain the losses are.
extension PlanProblem {
  /// Searches again with losses drawn anew within their standard errors, and says which share of the
  /// weights kept the format that `plan` gives them.
  ///
  /// - Parameters:
  ///   - plan: the candidates of the plan, one an operator.
  ///   - resamples: searches.
  ///   - seed: of the draws.
  func stability(
    of plan: [Candidate], budgets: [Budget], goal: Plan.Goal?, resamples: Int, seed: UInt64,
    timeLimitSeconds: Double
  ) throws(PipelineError) -> Plan.Stability {
    var options = SearchOptions()
    options.relativeGap = 1e-3
    options.timeLimitSeconds = timeLimitSeconds
    var kept = 0.0
    var finished = 0
    for index in 0..<resamples {
      let drawn = resampled(seed: seed &+ 0x9E37 &* UInt64(index + 1))
      let solution: Solution
      do { solution = try drawn.best(budgets, goal: goal, options: options) } catch {
        // Losses that were drawn too high for the goal: nothing of the plan is kept.
        guard error.kind == .infeasible else { throw error }
        finished += 1
        continue
      }
      let weights = zip(operators, zip(plan, drawn.chosen(solution.selection))).reduce(0) {
        $0 + Self.keptRows($1.1.0, $1.1.1, $1.0.shape.outputFeatures) * $1.0.shape.inputFeatures
      }
      kept += Double(weights) / Double(weightCount)
      finished += 1
    }
    return Plan.Stability(
      resampleCount: finished, seed: seed,
      keptWeightShare: min(1, max(0, kept / Double(max(1, finished)))))
  }

  /// The problem with every operator's losses times a factor drawn within its standard error: what
  /// is uncertain about an operator is how much it matters, which all its formats share.
  private func resampled(seed: UInt64) -> PlanProblem {
    var generator = SeededGenerator(state: seed)
    var copy = self
    for index in candidates.indices {
      let relative =
        wholes[index].map { $0.loss > 0 ? $0.standardError / $0.loss : 0 }.max() ?? 0
      // Twelve uniform draws less six: normal enough, and the same on every machine.
      let normal = (0..<12).reduce(-6.0) { sum, _ in
        sum + Double.random(in: 0..<1, using: &generator)
      }
      let factor = max(0.05, 1 + relative * normal)
      for choice in copy.candidates[index].indices { copy.candidates[index][choice].loss *= factor }
      for choice in copy.wholes[index].indices { copy.wholes[index][choice].loss *= factor }
    }
    return copy
  }

  /// Rows that have the same format in both, beside the same side branch.
  private static func keptRows(_ a: Candidate, _ b: Candidate, _ rowCount: Int) -> Int {
    guard a.branch == b.branch else { return 0 }
    if a.rows == b.rows { return rowCount }
    var formats = [WeightFormat?](repeating: nil, count: rowCount)
    for segment in a.segments {
      for row in segment.rows.joined() { formats[row] = segment.format }
    }
    return b.segments.reduce(0) { sum, segment in
      sum + segment.rows.joined().count { formats[$0] == segment.format }
    }
  }

  /// A largest share of the loss that ties may cost together.
  static let tieShare = 0.0004

  /// Gives ties to the faster choice: an operator takes a candidate that decodes faster, is no
  /// larger and no slower in prefill, and loses more by no more than its standard error; the time it
  /// saves must be a larger share of the plan's than the loss it gives up. Together such moves cost
  /// at most the standard error of the plan's loss, and ``tieShare`` of it.
  ///
  /// - Returns: the selection, and what was given up and saved; `nil` where there is no tie.
  func withTiesBroken(
    _ selection: [Int]
  ) -> (selection: [Int], lossGivenUp: Double, decodeSecondsSaved: Double)? {
    struct Move {
      let index, choice: Int
      let loss, seconds: Double
    }
    let chosen = chosen(selection)
    guard demands == nil, chosen.allSatisfy({ $0.decodeSeconds != nil }) else { return nil }
    var moves: [Move] = []
    let totalLoss = loss(of: selection)
    let totalSeconds = chosen.reduce(0) { $0 + ($1.decodeSeconds ?? 0) }
    for (index, current) in chosen.enumerated() {
      for (choice, other) in candidates[index].enumerated() {
        let loss = other.loss - current.loss
        let seconds = (current.decodeSeconds ?? 0) - (other.decodeSeconds ?? 0)
        guard seconds > 0, loss >= 0, loss <= current.standardError,
          seconds * totalLoss > loss * totalSeconds,
          other.storedBytes <= current.storedBytes,
          (other.prefillSeconds ?? 0) <= (current.prefillSeconds ?? 0)
        else { continue }
        moves.append(Move(index: index, choice: choice, loss: loss, seconds: seconds))
      }
    }
    // Most time saved for the loss first; of equals the first operator, then the first choice.
    moves.sort {
      let (a, b) = ($0.seconds * $1.loss, $1.seconds * $0.loss)
      return a != b ? a > b : ($0.index, $0.choice) < ($1.index, $1.choice)
    }
    let error = chosen.reduce(0) { $0 + $1.standardError * $1.standardError }.squareRoot()
    let allowance = min(error, Self.tieShare * totalLoss)
    var result = selection
    var (spent, saved) = (0.0, 0.0)
    var moved: Set<Int> = []
    for move in moves where !moved.contains(move.index) && spent + move.loss <= allowance {
      result[move.index] = move.choice
      spent += move.loss
      saved += move.seconds
      moved.insert(move.index)
    }
    return moved.isEmpty ? nil : (result, spent, saved)
  }
}
