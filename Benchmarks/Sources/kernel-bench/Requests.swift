import BitplanCore
import BitplanKernels
import Foundation

extension KernelBench {
  /// Times one multiplication.
  private struct Answer: Encodable {
    let seconds: [Double]
    let storedBytes: Int
    let instructionSet: String
    let kernelBuild: String
  }

  /// Answers requests until standard input ends, so that another program can be timed in turns
  /// with this one. A request is a line `format shape tokens threads instructionSet`, such as
  /// `int4_g128 4096x4096 8 2 best`; the answer is one line of JSON.
  func answerRequests() throws {
    var pools: [Int: ThreadPool] = [:]
    while let line = readLine() {
      let words = line.split(separator: " ").map(String.init)
      let sizes = (words.count > 1 ? words[1] : "").split(separator: "x").compactMap { Int($0) }
      guard words.count == 5, let format = WeightFormat(identifier: words[0]), sizes.count == 2,
        let tokens = Int(words[2]), tokens > 0, let threads = Int(words[3]),
        (1...1024).contains(threads),
        let set = words[4] == "best" ? InstructionSet.best : InstructionSet(rawValue: words[4]),
        let kernels = KernelSet(set)
      else {
        throw UsageError(
          description: "'\(line)' is not a request: write format, shape, tokens, threads and an "
            + "instruction set of this machine or 'best'.")
      }
      let shape = MatrixShape(outputFeatures: sizes[0], inputFeatures: sizes[1])
      let pool = pools[threads] ?? ThreadPool(threadCount: threads)
      pools[threads] = pool
      let samples = samples(format, shape, tokens, KernelContext(kernels: kernels, pool: pool))
      let encoder = JSONEncoder()
      encoder.outputFormatting = .sortedKeys
      let answer = Answer(
        seconds: samples.seconds, storedBytes: PackedLayout(format, shape).storedBytes,
        instructionSet: set.rawValue, kernelBuild: KernelSet.build)
      print(String(decoding: try encoder.encode(answer), as: UTF8.self))
      fflush(nil)
    }
  }
}
