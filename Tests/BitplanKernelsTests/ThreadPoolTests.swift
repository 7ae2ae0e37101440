import BitplanCore
import BitplanKernels
import Synchronization
import Testing

/// A number that several threads add to.
private final class Counter: Sendable {
  private let count = Atomic<Int>(0)
  var value: Int { count.load(ordering: .relaxed) }
  func add() { count.add(1, ordering: .relaxed) }
}

struct ThreadPoolTests {
  /// From one thread to twice as many as there are processors.
  static let threadCounts: [Int] = {
    let processors = ThreadPool.availableProcessorCount
    return Set([1, 2, 3, processors, processors + 1, 2 * processors]).sorted()
  }()

  @Test("every index runs once, again and again", arguments: threadCounts)
  func runsEveryIndexOnce(_ threads: Int) {
    let pool = ThreadPool(threadCount: threads)
    let counts = Mutex([Int](repeating: 0, count: threads))
    for _ in 0..<2_000 { pool.run { index in counts.withLock { $0[index] += 1 } } }
    #expect(counts.withLock { $0 } == [Int](repeating: 2_000, count: threads))
  }

  @Test("a sleeping pool wakes up")
  func wakesUp() async throws {
    let pool = ThreadPool(threadCount: 2)
    let total = Counter()
    for _ in 0..<5 {
      try await Task.sleep(for: .milliseconds(3))
      pool.run { _ in total.add() }
    }
    #expect(total.value == 10)
  }

  @Test("a body may run the pool again, and two callers may share it")
  func nested() async {
    let pool = ThreadPool(threadCount: 3)
    let total = Counter()
    pool.run { _ in pool.run { _ in total.add() } }
    #expect(total.value == 9)
    await withTaskGroup(of: Void.self) { group in
      for _ in 0..<4 {
        group.addTask {
          for _ in 0..<200 { pool.run { _ in total.add() } }
        }
      }
    }
    #expect(total.value == 9 + 4 * 200 * 3)
  }

  @Test("pools of one process do not disturb each other", arguments: threadCounts)
  func pools(_ threads: Int) async {
    let totals = [Counter(), Counter(), Counter()]
    await withTaskGroup(of: Void.self) { group in
      for total in totals {
        group.addTask {
          let pool = ThreadPool(threadCount: threads)
          for _ in 0..<100 { pool.run { _ in total.add() } }
        }
      }
    }
    #expect(totals.map(\.value) == [Int](repeating: 100 * threads, count: 3))
  }

  @Test("results do not depend on the number of threads", arguments: InstructionSet.supported)
  func sameBits(_ set: InstructionSet) throws {
    var generator = SeededGenerator(state: 13)
    for format in WeightFormat.all {
      for shape in [Shape(600, 512), Shape(20, 4096)] {
        let weights = PackedOperator(
          PackedMatrix(packing: generator.weights(format, shape.matrixShape)))
        for tokens in [1, 6, 70] {
          let values = generator.floats(tokens * shape.columns)
          let expected = product(weights, values, tokens: tokens, try makeContext(set))
          for threads in Self.threadCounts.dropFirst() {
            let actual = product(
              weights, values, tokens: tokens, try makeContext(set, threads: threads))
            #expect(firstDifference(expected, actual) == nil, "\(format), \(threads) threads")
          }
        }
      }
    }
  }
}
