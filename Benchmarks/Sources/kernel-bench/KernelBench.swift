import BitplanCore
import BitplanKernels
import Foundation
import StudyRecords

/// Times every format on two shapes of an 8B model against the ceilings measured in the same run.
///
///     kernel-bench [--threads 1,2] [--instruction-sets avx512vnni,avx512amx] [--formats …]
///                  [--shapes 4096x4096,…] [--tokens 1,8,512] [--repeats N] [--out results.json]
///                  [--mode formats|segments|requests]
@main
struct KernelBench {
  var threads = [1, ThreadPool.availableProcessorCount]
  /// The best one; before AMX, which decodes as it does, also AVX-512 VNNI.
  var instructionSets: [InstructionSet] =
    InstructionSet.supported.contains(.avx512amx) ? [.avx512vnni, .avx512amx] : [.best]
  var formats = WeightFormat.all.filter {
    $0.groupSize == 128 || $0.identifier.hasPrefix("int4") || $0.coding == .float16
      || $0.coding == .blockFloat || $0.identifier == "nl4_g64"
  }
  var shapes = [
    MatrixShape(outputFeatures: 4096, inputFeatures: 4096),
    MatrixShape(outputFeatures: 14336, inputFeatures: 4096),
  ]
  var tokens = [1, 8, 512]
  var repeats = 5
  var out: String?
  var mode = Mode.formats
  /// Weights that decode rotates through: more than the last-level cache of any current server.
  let memory = AlignedBytes(count: 768 << 20)

  /// What is timed.
  enum Mode: String {
    /// Every format alone.
    case formats
    /// An operator of two formats against its parts.
    case segments
    /// What standard input asks for.
    case requests
  }

  static func main() throws {
    do {
      var bench = KernelBench()
      try bench.parse(Array(CommandLine.arguments.dropFirst()))
      try bench.run()
    } catch let error as UsageError {
      FileHandle.standardError.write(Data("Error: \(error.description)\n".utf8))
      exit(64)
    }
  }

  struct UsageError: Error, CustomStringConvertible {
    var description: String
  }

  mutating func parse(_ arguments: [String]) throws {
    var rest = arguments[...]
    func list<T>(_ text: String, _ convert: (String) -> T?) throws -> [T] {
      try text.split(separator: ",").map {
        guard let value = convert(String($0)) else {
          throw UsageError(description: "'\($0)' is not understood; see Benchmarks/README.md.")
        }
        return value
      }
    }
    while let option = rest.popFirst() {
      guard let value = rest.popFirst() else {
        throw UsageError(description: "'\(option)' needs a value.")
      }
      switch option {
      case "--threads": threads = try list(value) { Int($0) }
      case "--instruction-sets":
        instructionSets = try list(value) { InstructionSet(rawValue: $0) }
      case "--formats": formats = try list(value) { WeightFormat(identifier: $0) }
      case "--tokens": tokens = try list(value) { Int($0) }
      case "--repeats": repeats = try list(value) { Int($0) }[0]
      case "--out": out = value
      case "--mode":
        guard let known = Mode(rawValue: value) else {
          throw UsageError(description: "'--mode \(value)' is not formats, segments or requests.")
        }
        mode = known
      case "--shapes":
        shapes = try list(value) { text in
          let sizes = text.split(separator: "x").compactMap { Int($0) }
          guard sizes.count == 2 else { return nil }
          return MatrixShape(outputFeatures: sizes[0], inputFeatures: sizes[1])
        }
      default: throw UsageError(description: "'\(option)' is not an option.")
      }
    }
  }

  func run() throws {
    // Random codes; as binary16, every pair of bytes is a finite number below 2.
    memory.withUnsafeMutableBytes { bytes in
      var generator = SeededGenerator(state: 1)
      for index in 0..<bytes.count / 8 {
        bytes.storeBytes(
          of: generator.next() & 0x3BBF_3BBF_3BBF_3BBF | 0x2040_2040_2040_2040,
          toByteOffset: 8 * index, as: UInt64.self)
      }
    }
    switch mode {
    case .formats: try runFormats()
    case .segments: try runSegments()
    case .requests: try answerRequests()
    }
  }

  private func runFormats() throws {
    var records: [Record] = []
    for count in Set(threads).sorted() {
      let pool = ThreadPool(threadCount: count)
      var roofline = Roofline()
      for _ in 0..<3 { roofline.measure(memory, pool) }
      var rows: [(String, Record)] = []
      for set in instructionSets {
        guard let kernels = KernelSet(set) else {
          throw UsageError(description: "This machine cannot run \(set.rawValue).")
        }
        let context = KernelContext(kernels: kernels, pool: pool)
        for shape in shapes {
          for format in formats {
            for batch in tokens where batch > 8 || set == instructionSets.first {
              rows += measure(format, shape, batch, context)
              if let lookup = kernels.withLookup, batch == 1, format.identifier == "bcq1_g128" {
                rows += measure(
                  format, shape, batch, KernelContext(kernels: lookup, pool: pool))
              }
              roofline.measure(memory, pool)
            }
          }
        }
      }
      print(
        "\n\(count) thread(s): read \(text(roofline.readBytesPerSecond / 1e9)) GB/s, "
          + "vpdpbusd \(text(roofline.vnniPerSecond / 1e9)) GMAC/s, "
          + "AMX \(text(roofline.amxPerSecond / 1e9)) GMAC/s, "
          + "float \(text(roofline.floatPerSecond / 1e9)) GMAC/s")
      print(
        "| kernels | shape | format | tokens | best ms | median ms | GB/s | GMAC/s | of best bound | of bound beside it |"
      )
      print("|---|---|---|---|---|---|---|---|---|---|")
      records += ceilings(roofline, threads: count)
      records.append(handOver(pool))
      for (line, record) in rows {
        let finished = compare(record, roofline)
        let shares = ["share", "pairedShare"].map {
          "\(Int((100 * (finished.reference[$0] ?? 0)).rounded())) %"
        }
        print(line + " \(shares[0]) | \(shares[1]) |")
        records.append(finished)
      }
    }
    if let out { try records.write(to: out) }
  }

  /// Times one multiplication, activation quantization included.
  func measure(
    _ format: WeightFormat, _ shape: MatrixShape, _ batch: Int, _ context: KernelContext
  ) -> [(String, Record)] {
    let layout = PackedLayout(format, shape)
    let copies = max(1, memory.count / layout.storedBytes)
    let (samples, reference) = pairedSamples(format, shape, batch, context)
    let operations = Double(shape.weightCount) * Double(batch)
    let conditions = [
      "format": format.identifier, "shape": "\(shape)", "tokens": "\(batch)",
      "threads": "\(context.pool.threadCount)",
      "instructionSet": context.kernels.instructionSet.rawValue,
      "lookupTables": "\(context.kernels.usesLookup)",
      "kernelBuild": KernelSet.build, "repeats": "\(samples.seconds.count)",
      "weights": "cold: \(copies) copies in \(memory.count >> 20) MiB, one after the other",
    ]
    let bytes = Double(layout.storedBytes)
    let line =
      "| \(context.kernels.instructionSet.rawValue)"
      + (context.kernels.usesLookup ? ", lookup tables" : "")
      + " | \(shape) | \(format) | \(batch) "
      + "| \(text(samples.best * 1e3)) | \(text(samples.median * 1e3)) "
      + "| \(text(bytes / samples.best / 1e9)) | \(text(operations / samples.best / 1e9)) |"
    return [
      (
        line,
        Record(
          metric: "multiplySeconds", value: samples.best, unit: "s", conditions: conditions,
          reference: [
            "medianSeconds": samples.median, "bytesPerSecond": bytes / samples.best,
            "multiplyAddsPerSecond": operations / samples.best, "pairedShare": reference,
          ])
      )
    ]
  }

  /// Times of one multiplication, activation quantization included, by weights that were not read
  /// since the others were.
  func samples(
    _ format: WeightFormat, _ shape: MatrixShape, _ batch: Int, _ context: KernelContext
  ) -> Samples {
    pairedSamples(format, shape, batch, context).samples
  }

  /// The same, and the share of the bound that was reached at the same moment.
  ///
  /// On a shared machine bandwidth and clock change from second to second, so every multiplication is
  /// followed by its bound: up to 8 tokens a plain read of as many bytes, of weights that are as cold;
  /// for more, the peak's loop for a like time. The share is the median over these pairs.
  func pairedSamples(
    _ format: WeightFormat, _ shape: MatrixShape, _ batch: Int, _ context: KernelContext
  ) -> (samples: Samples, share: Double) {
    let layout = PackedLayout(format, shape)
    let copies = max(1, memory.count / layout.storedBytes)
    let x = Activations(capacity: batch, inputFeatures: shape.inputFeatures)
    var generator = SeededGenerator(state: 2)
    x.values.withUnsafeMutableBufferPointer { values in
      for index in values.indices { values[index] = Float.random(in: -1...1, using: &generator) }
    }
    let y = FloatMatrix(rows: batch, columns: shape.outputFeatures)
    var samples = Samples()
    var shares: [Double] = []
    var copy = 0
    // A decode round touches every copy once, so that each comes from memory again.
    for _ in 0..<(batch > 8 ? repeats : max(repeats, copies)) {
      let start = copy % copies * layout.storedBytes
      copy += 1
      guard
        let matrix = try? PackedMatrix(
          layout,
          bytes: ByteSlice(region: memory, range: start..<start + layout.storedBytes))
      else { continue }
      let weights = PackedOperator(matrix)
      x.didChange(tokenCount: batch)
      samples.time { context.multiply(weights, x, into: y) }
      let seconds = samples.seconds[samples.seconds.count - 1]
      if batch <= 8 {
        let next = copy % copies * layout.storedBytes
        copy += 1
        let bytes = layout.storedBytes / context.pool.threadCount / 256 * 256
        let bound = Roofline.read(memory, from: next / 256 * 256, bytes: bytes, context.pool)
        shares.append(Double(layout.storedBytes) / seconds / bound)
      } else {
        let rate = Double(shape.weightCount) * Double(batch) / seconds
        shares.append(
          rate / Roofline.peak(isFloat: format.coding == .float16, seconds, context.pool))
      }
    }
    shares.sort()
    return (samples, shares.isEmpty ? 0 : shares[shares.count / 2])
  }

  /// Adds the share of the bound: bandwidth for up to 8 tokens, the vpdpbusd peak (float peak for
  /// `f16`) for more.
  func compare(_ record: Record, _ roofline: Roofline) -> Record {
    var record = record
    if (Int(record.conditions["tokens"] ?? "") ?? 0) <= 8 {
      record.reference["bound"] = roofline.readBytesPerSecond
      record.reference["share"] =
        (record.reference["bytesPerSecond"] ?? 0) / roofline.readBytesPerSecond
    } else {
      let isFloat = record.conditions["format"] == "f16"
      let bound = isFloat ? roofline.floatPerSecond : roofline.vnniPerSecond
      record.reference["bound"] = bound
      record.reference["share"] = (record.reference["multiplyAddsPerSecond"] ?? 0) / bound
    }
    return record
  }

  func ceilings(_ roofline: Roofline, threads: Int) -> [Record] {
    let conditions = ["threads": "\(threads)", "memory": "\(memory.count >> 20) MiB"]
    return [
      ("readBytesPerSecond", roofline.readBytesPerSecond, "B/s"),
      ("vnniMultiplyAddsPerSecond", roofline.vnniPerSecond, "1/s"),
      ("amxMultiplyAddsPerSecond", roofline.amxPerSecond, "1/s"),
      ("floatMultiplyAddsPerSecond", roofline.floatPerSecond, "1/s"),
    ].map { Record(metric: $0.0, value: $0.1, unit: $0.2, conditions: conditions, reference: [:]) }
  }

  /// Seconds to hand an empty body to the pool and meet again.
  func handOver(_ pool: ThreadPool) -> Record {
    var samples = Samples()
    for _ in 0..<2_000 { samples.time { pool.run { _ in } } }
    print("| | | hand-over | | \(text(samples.best * 1e3)) | \(text(samples.median * 1e3)) | | | |")
    return Record(
      metric: "handOverSeconds", value: samples.median, unit: "s",
      conditions: ["threads": "\(pool.threadCount)", "repeats": "2000"],
      reference: ["bestSeconds": samples.best])
  }

  func text(_ value: Double) -> String {
    String(format: value < 10 ? "%.4f" : value < 100 ? "%.1f" : "%.0f", value)
  }
}
