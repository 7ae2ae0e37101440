internal import CBitplanKernels
internal import Synchronization

#if canImport(Darwin)
  internal import Darwin
#elseif canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#endif

/// A fixed set of threads that run the same body and meet at the end.
///
/// The calling thread is number 0, so a pool of one has no threads of its own. Workers wait for
/// the next body by spinning for some hundred microseconds, so that the hand-over between the
/// operators of a forward pass costs about one, and then sleep, so that an idle pool costs nothing.
/// A pool with more threads than the process has processors does not spin.
public final class ThreadPool: Sendable {
  /// Threads, the calling one included.
  public let threadCount: Int
  private let state: State
  private let workers: [Worker]

  /// Processors that this process may run on.
  public static var availableProcessorCount: Int {
    Int(bp_processor_count())
  }

  /// Starts `threadCount − 1` threads; at least one thread is meant.
  public init(threadCount: Int) {
    precondition(threadCount > 0, "a pool has at least the calling thread")
    self.threadCount = threadCount
    let state = State(spins: threadCount <= Self.availableProcessorCount ? 10_000 : 0)
    self.state = state
    workers = (1..<max(1, threadCount)).map { Worker(index: $0, state: state) }
  }

  deinit {
    state.stop()
    for worker in workers { worker.join() }
  }

  /// Runs `body(0)` … `body(threadCount − 1)`, each once; returns when all have returned.
  ///
  /// They run at once unless the pool is already running another body (from another thread, or
  /// because `body` itself calls `run`): then all run on the calling thread, one after the other.
  /// So a body must not wait for another one.
  public func run(_ body: @Sendable (Int) -> Void) {
    guard !workers.isEmpty, state.acquire() else {
      for index in 0..<threadCount { body(index) }
      return
    }
    withoutActuallyEscaping(body) { body in
      state.start(body, workers: workers.count)
      body(0)
      state.finish()
    }
    state.release()
  }

  /// Calls `body` for every task of `0..<count` with the thread it runs on, tasks dealt out in turn
  /// over all threads where they are worth it. Tasks are independent, so the deal changes no result.
  package func deal(
    _ count: Int, isWorthwhile: Bool = true, _ body: @Sendable (_ task: Int, _ thread: Int) -> Void
  ) {
    guard threadCount > 1, count > 1, isWorthwhile else {
      for task in 0..<count { body(task, 0) }
      return
    }
    run { thread in
      for task in stride(from: thread, to: count, by: threadCount) { body(task, thread) }
    }
  }

  /// One thread of a pool.
  private final class Worker: Sendable {
    private let thread: pthread_t

    init(index: Int, state: State) {
      let argument = Unmanaged.passRetained(Start(index: index, state: state)).toOpaque()
      #if canImport(Darwin)
        var thread: pthread_t?
        let status = pthread_create(&thread, nil, workerMain, argument)
        guard status == 0, let thread else { preconditionFailure("no thread: error \(status)") }
        self.thread = thread
      #else
        var thread = pthread_t()
        let status = pthread_create(&thread, nil, workerMain, argument)
        precondition(status == 0, "the system gave no thread: error \(status)")
        self.thread = thread
      #endif
    }

    func join() { pthread_join(thread, nil) }
  }

  /// What a new thread is told.
  fileprivate final class Start: Sendable {
    let index: Int
    let state: State

    init(index: Int, state: State) {
      self.index = index
      self.state = state
    }
  }

  /// What the threads share.
  ///
  /// `@unchecked Sendable`: `body` is written before `generation` is increased with release
  /// ordering and read after it was seen with acquire ordering; it is cleared only when `pending`
  /// has come down to 0. The mutex and the conditions are their own synchronisation.
  fileprivate final class State: @unchecked Sendable {
    private let spins: Int
    private let isRunning = Atomic<Bool>(false)
    private let isStopped = Atomic<Bool>(false)
    private let generation = Atomic<UInt64>(0)
    private let sleepers = Atomic<Int>(0)
    private let pending = Atomic<Int>(0)
    private let callerSleeps = Atomic<Bool>(false)
    private var body: (@Sendable (Int) -> Void)?
    private let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
    private let started = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 1)
    private let finished = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 1)

    init(spins: Int) {
      self.spins = spins
      mutex.initialize(to: pthread_mutex_t())
      started.initialize(to: pthread_cond_t())
      finished.initialize(to: pthread_cond_t())
      pthread_mutex_init(mutex, nil)
      pthread_cond_init(started, nil)
      pthread_cond_init(finished, nil)
    }

    deinit {
      pthread_cond_destroy(finished)
      pthread_cond_destroy(started)
      pthread_mutex_destroy(mutex)
      finished.deallocate()
      started.deallocate()
      mutex.deallocate()
    }

    func acquire() -> Bool {
      isRunning.compareExchange(expected: false, desired: true, ordering: .acquiring).exchanged
    }

    func release() { isRunning.store(false, ordering: .releasing) }

    /// Hands `body` to the workers.
    func start(_ body: @escaping @Sendable (Int) -> Void, workers: Int) {
      self.body = body
      pending.store(workers, ordering: .relaxed)
      wake()
    }

    func stop() {
      isStopped.store(true, ordering: .relaxed)
      wake()
    }

    private func wake() {
      generation.add(1, ordering: .sequentiallyConsistent)
      if sleepers.load(ordering: .sequentiallyConsistent) > 0 {
        pthread_mutex_lock(mutex)
        pthread_cond_broadcast(started)
        pthread_mutex_unlock(mutex)
      }
    }

    /// One round of spinning. Now and then the processor is offered to others: the thread that is
    /// waited for may need it when other programs are busy.
    private static func wait(_ spun: inout Int) {
      spun += 1
      if spun % 128 == 0 { sched_yield() } else { bp_pause() }
    }

    /// Waits until all workers are done.
    func finish() {
      var spun = 0
      while pending.load(ordering: .acquiring) > 0 {
        if spun < spins {
          Self.wait(&spun)
          continue
        }
        pthread_mutex_lock(mutex)
        callerSleeps.store(true, ordering: .sequentiallyConsistent)
        while pending.load(ordering: .sequentiallyConsistent) > 0 {
          pthread_cond_wait(finished, mutex)
        }
        callerSleeps.store(false, ordering: .relaxed)
        pthread_mutex_unlock(mutex)
      }
      body = nil
    }

    /// A worker's life.
    func work(index: Int) {
      var seen: UInt64 = 0
      while true {
        var spun = 0
        while generation.load(ordering: .acquiring) == seen {
          if spun < spins {
            Self.wait(&spun)
            continue
          }
          pthread_mutex_lock(mutex)
          sleepers.add(1, ordering: .sequentiallyConsistent)
          while generation.load(ordering: .sequentiallyConsistent) == seen {
            pthread_cond_wait(started, mutex)
          }
          sleepers.subtract(1, ordering: .sequentiallyConsistent)
          pthread_mutex_unlock(mutex)
        }
        // A new body starts only when all workers are done with the last one, so none is missed.
        seen += 1
        if isStopped.load(ordering: .acquiring) { return }
        body?(index)
        let left = pending.subtract(1, ordering: .sequentiallyConsistent).newValue
        if left == 0, callerSleeps.load(ordering: .sequentiallyConsistent) {
          pthread_mutex_lock(mutex)
          pthread_cond_signal(finished)
          pthread_mutex_unlock(mutex)
        }
      }
    }
  }
}

#if canImport(Darwin)
  private func workerMain(_ argument: UnsafeMutableRawPointer) -> UnsafeMutableRawPointer? {
    let start = Unmanaged<ThreadPool.Start>.fromOpaque(argument).takeRetainedValue()
    start.state.work(index: start.index)
    return nil
  }
#else
  private func workerMain(_ argument: UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? {
    guard let argument else { return nil }
    let start = Unmanaged<ThreadPool.Start>.fromOpaque(argument).takeRetainedValue()
    start.state.work(index: start.index)
    return nil
  }
#endif
