internal import BitplanCore
internal import BitplanSearch
internal import CGLPK

/// An assignment problem as GLPK sees it.
struct BinaryProgram {
  /// What one run of GLPK found.
  struct Outcome {
    /// One choice for every operator, or `nil` if none was found.
    var selection: [Int]?
    /// No assignment of the program has a lower loss, in the problem's units; infinite where the
    /// program has none (the cut-off is taken into account: then it is the cut-off).
    var bound: Double
    /// Whether the tree was searched to its end, or to the gap asked for.
    var isOptimal = false
  }

  private let problem: AssignmentProblem
  /// Operators with more than one choice.
  private let open: [Int]
  /// First column, less one, of every open operator; the last entry is the number of columns.
  private let firstColumns: [Int]
  /// Loss and uses of the least that every operator takes: constants of the program.
  private let baseLoss: Double
  private let baseUses: [Double]
  private let leastLosses: [Double]
  private let leastUses: [[Double]]
  private let lossScale: Double
  private let useScales: [Double]

  init(_ problem: AssignmentProblem) {
    self.problem = problem
    let limitCount = problem.limits.count
    let open = problem.choices.indices.filter { problem.choices[$0].count > 1 }
    var firstColumns = [0]
    for i in open { firstColumns.append(firstColumns.last! + problem.choices[i].count) }
    let leastLosses = problem.choices.map { $0.map(\.loss).min()! }
    let leastUses = problem.choices.map { choices in
      (0..<limitCount).map { k in choices.map { $0.uses[k] }.min()! }
    }
    let baseLoss = leastLosses.reduce(0, +)
    let baseUses = (0..<limitCount).map { k in leastUses.reduce(0) { $0 + $1[k] } }
    // The largest single difference becomes 1: right-hand sides then count operators.
    // A loss that does not matter beside the constant must not blow the constant up.
    lossScale = max(
      Self.positive(
        open.map { i in problem.choices[i].map(\.loss).max()! - leastLosses[i] }.max()),
      baseLoss * 1e-9)
    useScales = (0..<limitCount).map { k in
      Self.positive(
        open.map { i in problem.choices[i].map { $0.uses[k] }.max()! - leastUses[i][k] }.max())
    }
    self.open = open
    self.firstColumns = firstColumns
    self.leastLosses = leastLosses
    self.leastUses = leastUses
    self.baseLoss = baseLoss
    self.baseUses = baseUses
  }

  private static func positive(_ value: Double?) -> Double {
    guard let value, value > 0 else { return 1 }
    return value
  }

  /// Builds the program, runs GLPK and frees everything.
  ///
  /// - Parameters:
  ///   - cutoff: only assignments with at most this loss are looked for.
  ///   - exclusions: sets of (operator, choice), of which no assignment may have all.
  ///   - tightening: taken off every limit, in the limits' units.
  func run(
    cutoff: Double?, exclusions: [[(operatorIndex: Int, choice: Int)]], tightening: [Double],
    timeLimitSeconds: Double, relativeGap: Double
  ) throws(SearchError) -> Outcome {
    let columnCount = firstColumns.last!
    guard columnCount > 0 else {
      // Nothing to choose.
      let only = problem.choices.map { _ in 0 }
      return problem.isFeasible(only)
        ? Outcome(selection: only, bound: problem.loss(of: only), isOptimal: true)
        : Outcome(selection: nil, bound: .infinity, isOptimal: true)
    }
    let limitCount = problem.limits.count
    let firstExclusion = open.count + limitCount
    let rowCount = firstExclusion + exclusions.count + (cutoff == nil ? 0 : 1)
    let elementCount = columnCount * (limitCount + 2 + exclusions.count)
    guard elementCount < 50_000_000 else {
      throw .solverFailed(
        "The program has \(columnCount) variables and \(elementCount) coefficients, more than GLPK "
          + "takes. Use fewer formats or fewer frontier points.")
    }

    glp_term_out(GLP_OFF)
    guard let program = glp_create_prob() else {
      throw .solverFailed("GLPK could not make a problem. Free some memory and try again.")
    }
    defer { glp_delete_prob(program) }
    glp_set_obj_dir(program, GLP_MIN)
    glp_add_rows(program, Int32(rowCount))
    glp_add_cols(program, Int32(columnCount))
    for row in open.indices { glp_set_row_bnds(program, Int32(row + 1), GLP_FX, 1, 1) }
    for k in 0..<limitCount {
      let room = problem.limits[k].value - tightening[k] - baseUses[k]
      Self.setUpperBound(
        program, row: open.count + k + 1, room / useScales[k], largestSum: Double(open.count))
    }
    for (index, exclusion) in exclusions.enumerated() {
      glp_set_row_bnds(
        program, Int32(firstExclusion + index + 1), GLP_UP, 0, Double(exclusion.count - 1))
    }
    if let cutoff {
      Self.setUpperBound(
        program, row: rowCount, (cutoff - baseLoss) / lossScale, largestSum: Double(open.count))
    }
    glp_set_obj_coef(program, 0, baseLoss / lossScale)

    var rows: [Int32] = []
    var values: [Double] = []
    for (position, i) in open.enumerated() {
      for (choiceIndex, choice) in problem.choices[i].enumerated() {
        let column = Int32(firstColumns[position] + choiceIndex + 1)
        glp_set_col_kind(program, column, GLP_BV)
        let loss = (choice.loss - leastLosses[i]) / lossScale
        glp_set_obj_coef(program, column, loss)
        // GLPK counts from 1: element 0 is not read.
        rows = [0, Int32(position + 1)]
        values = [0, 1]
        for k in 0..<limitCount {
          let use = (choice.uses[k] - leastUses[i][k]) / useScales[k]
          if use != 0 {
            rows.append(Int32(open.count + k + 1))
            values.append(use)
          }
        }
        for (index, exclusion) in exclusions.enumerated()
        where exclusion.contains(where: { $0 == (i, choiceIndex) }) {
          rows.append(Int32(firstExclusion + index + 1))
          values.append(1)
        }
        if cutoff != nil, loss != 0 {
          rows.append(Int32(rowCount))
          values.append(loss)
        }
        glp_set_mat_col(program, column, Int32(rows.count - 1), rows, values)
      }
    }
    return try optimise(
      program, cutoff: cutoff, timeLimitSeconds: timeLimitSeconds, relativeGap: relativeGap)
  }

  /// Limits a row whose coefficients are at most 1, one of them an operator. A bound that no sum can
  /// reach is left out, however large or infinite division made it.
  private static func setUpperBound(
    _ program: OpaquePointer, row: Int, _ bound: Double, largestSum: Double
  ) {
    if bound > 2 * largestSum {
      glp_set_row_bnds(program, Int32(row), GLP_FR, 0, 0)
    } else {
      glp_set_row_bnds(program, Int32(row), GLP_UP, 0, max(bound, -1e6))
    }
  }

  private func optimise(
    _ program: OpaquePointer, cutoff: Double?, timeLimitSeconds: Double, relativeGap: Double
  ) throws(SearchError) -> Outcome {
    let milliseconds = { (seconds: Double) in Int32(min(max(seconds * 1000, 1), 2e9)) }
    let clock = ContinuousClock()
    let start = clock.now

    // The root relaxation is solved here and not by `glp_intopt`'s presolver: there the time limit
    // does not count, and version 5.0 ends the process when cover cuts are on and presolving leaves
    // no column. What presolving would remove is not in the program in the first place.
    var simplex = glp_smcp()
    glp_init_smcp(&simplex)
    simplex.msg_lev = GLP_MSG_OFF
    simplex.meth = GLP_DUALP
    simplex.tm_lim = milliseconds(timeLimitSeconds)
    glp_scale_prob(program, GLP_SF_AUTO)
    glp_adv_basis(program, 0)
    switch glp_simplex(program, &simplex) {
    case 0: break
    case GLP_ETMLIM: return Outcome(selection: nil, bound: -.infinity)
    case let status: throw Self.failure(status)
    }
    switch glp_get_status(program) {
    case GLP_OPT: break
    case GLP_NOFEAS: return Outcome(selection: nil, bound: cutoff ?? .infinity, isOptimal: true)
    default: throw Self.failure(GLP_EROOT)
    }

    let (seconds, attoseconds) = start.duration(to: clock.now).components
    let remaining = timeLimitSeconds - Double(seconds) - Double(attoseconds) * 1e-18
    var parameters = glp_iocp()
    glp_init_iocp(&parameters)
    parameters.msg_lev = GLP_MSG_OFF
    parameters.mip_gap = relativeGap
    parameters.tol_obj = 1e-10
    parameters.tol_int = 1e-7
    parameters.tm_lim = milliseconds(remaining)
    parameters.cov_cuts = GLP_ON
    parameters.mir_cuts = GLP_ON
    // The best node's bound can only be read while the tree exists.
    var scaledBound = -Double.infinity
    let status: Int32 = withUnsafeMutablePointer(to: &scaledBound) { pointer in
      parameters.cb_info = UnsafeMutableRawPointer(pointer)
      parameters.cb_func = { tree, info in
        guard let tree, let info else { return }
        let node = glp_ios_best_node(tree)
        if node > 0 {
          info.assumingMemoryBound(to: Double.self).pointee = glp_ios_node_bound(tree, node)
        }
      }
      return glp_intopt(program, &parameters)
    }
    let mipStatus = glp_mip_status(program)
    var outcome = Outcome(selection: nil, bound: -.infinity)
    if mipStatus == GLP_OPT || mipStatus == GLP_FEAS { outcome.selection = selection(program) }

    switch status {
    case 0 where mipStatus == GLP_OPT:
      // Nodes within tol_obj · (1 + |objective|) of the best are not looked into.
      let loss = outcome.selection.map(problem.loss(of:)) ?? -.infinity
      outcome.bound = loss - 2e-10 * (loss + lossScale)
      outcome.isOptimal = true
    case 0 where mipStatus == GLP_NOFEAS:
      outcome.bound = cutoff ?? .infinity
      outcome.isOptimal = true
    case GLP_EMIPGAP:
      // The last bound is not shown to the callback, but it is what this status means.
      let value = glp_mip_obj_val(program)
      outcome.bound = max(scaledBound, value - relativeGap * (abs(value) + 1e-12)) * lossScale
      outcome.isOptimal = true
    case 0, GLP_ETMLIM:
      outcome.bound = scaledBound * lossScale
    default:
      throw Self.failure(status)
    }
    if let cutoff { outcome.bound = min(outcome.bound, cutoff) }
    return outcome
  }

  /// What `selection` would have to avoid to meet a limit that it exceeds: its choices that use more
  /// of that limit than they must. Every assignment that has all of them exceeds the limit too,
  /// because a sum rounded in order never falls when a term rises.
  func exclusion(_ selection: [Int]) -> [(operatorIndex: Int, choice: Int)]? {
    let uses = problem.uses(of: selection)
    guard let k = uses.indices.first(where: { uses[$0] > problem.limits[$0].value }) else {
      return nil
    }
    return open.filter { problem.choices[$0][selection[$0]].uses[k] > leastUses[$0][k] }
      .map { ($0, selection[$0]) }
  }

  /// The choice with the largest value of every operator.
  private func selection(_ program: OpaquePointer) -> [Int] {
    var selection = problem.choices.map { _ in 0 }
    for (position, i) in open.enumerated() {
      var largest = -Double.infinity
      for choice in problem.choices[i].indices {
        let value = glp_mip_col_val(program, Int32(firstColumns[position] + choice + 1))
        if value > largest { (selection[i], largest) = (choice, value) }
      }
    }
    return selection
  }

  private static func failure(_ status: Int32) -> SearchError {
    .solverFailed(
      "GLPK stopped: \(meaning(of: status)). Try fewer formats, a larger gap, or a shorter time "
        + "limit.")
  }

  private static func meaning(of status: Int32) -> String {
    switch status {
    case GLP_EBOUND: "a variable has bounds that contradict each other"
    case GLP_EROOT: "the first relaxation has no basis"
    case GLP_EFAIL: "it failed inside"
    case GLP_ESTOP: "it was interrupted"
    case GLP_EDATA: "it refused the data"
    case GLP_ERANGE: "a number is out of its range"
    default: "code \(status)"
    }
  }
}
