import BitplanCore
import BitplanKernels
import StudyRecords

/// One operator with a tenth of its rows in 8 bits and the rest in 4, against operators of the same
/// shape in one format each: what does keeping segments apart cost?
extension KernelBench {
  /// Formats of the two segments.
  private static let wide = WeightFormat(identifier: "int8_g128s")
  private static let narrow = WeightFormat(identifier: "int4_g128")
  /// Every tenth band of this many output features is in the wide format, as plans deal rows out.
  private static let bandHeight = 16

  /// Hands out places in the memory one after the other, so that whatever is read next was last
  /// read a whole memory ago.
  private struct Ring {
    let memory: AlignedBytes
    var next = 0

    mutating func take(_ layout: PackedLayout) -> PackedMatrix? {
      let size = (layout.storedBytes + 4095) / 4096 * 4096
      if next + size > memory.count { next = 0 }
      defer { next += size }
      return try? PackedMatrix(
        layout, bytes: ByteSlice(region: memory, range: next..<next + layout.storedBytes))
    }
  }

  func runSegments() throws {
    guard let wide = Self.wide, let narrow = Self.narrow else {
      throw UsageError(description: "This build lacks int8_g128s or int4_g128.")
    }
    var records: [Record] = []
    print(
      "| kernels | shape | threads | tokens | two segments, ms | parts by rows, ms | overhead |")
    print("|---|---|---|---|---|---|---|")
    for count in Set(threads).sorted() {
      let pool = ThreadPool(threadCount: count)
      for set in instructionSets {
        guard let kernels = KernelSet(set) else {
          throw UsageError(description: "This machine cannot run \(set.rawValue).")
        }
        let context = KernelContext(kernels: kernels, pool: pool)
        for shape in shapes {
          for batch in tokens where batch > 8 || set == instructionSets.first {
            records.append(try segments(wide, narrow, shape, batch, context))
          }
        }
      }
    }
    if let out { try records.write(to: out) }
  }

  /// Times the three operators in turns; the overhead is the median over the turns, since a shared
  /// machine's bandwidth changes from second to second.
  private func segments(
    _ wide: WeightFormat, _ narrow: WeightFormat, _ shape: MatrixShape, _ batch: Int,
    _ context: KernelContext
  ) throws -> Record {
    let rows = Self.split(shape.outputFeatures)
    func layout(_ format: WeightFormat, _ rows: Int) -> PackedLayout {
      PackedLayout(
        format, MatrixShape(outputFeatures: rows, inputFeatures: shape.inputFeatures))
    }
    let wideRows = rows.wide.reduce(0) { $0 + $1.count }
    let narrowRows = shape.outputFeatures - wideRows
    let x = Activations(capacity: batch, inputFeatures: shape.inputFeatures)
    var generator = SeededGenerator(state: 2)
    x.values.withUnsafeMutableBufferPointer { values in
      for index in values.indices { values[index] = Float.random(in: -1...1, using: &generator) }
    }
    let y = FloatMatrix(rows: batch, columns: shape.outputFeatures)
    var ring = Ring(memory: memory)
    func time(_ samples: inout Samples, _ weights: PackedOperator) {
      x.didChange(tokenCount: batch)
      samples.time { context.multiply(weights, x, into: y) }
    }
    var (mixed, wideAlone, narrowAlone) = (Samples(), Samples(), Samples())
    let rounds = batch > 8 ? max(repeats, 15) : 40 * repeats
    for _ in 0..<rounds {
      guard let first = ring.take(layout(wide, wideRows)),
        let second = ring.take(layout(narrow, narrowRows))
      else { throw UsageError(description: "\(shape) does not fit into \(memory.count) bytes.") }
      time(
        &mixed,
        try PackedOperator(shape: shape, segments: [(first, rows.wide), (second, rows.narrow)]))
      if let matrix = ring.take(layout(wide, shape.outputFeatures)) {
        time(&wideAlone, PackedOperator(matrix))
      }
      if let matrix = ring.take(layout(narrow, shape.outputFeatures)) {
        time(&narrowAlone, PackedOperator(matrix))
      }
    }
    let share = Double(wideRows) / Double(shape.outputFeatures)
    let parts = share * wideAlone.median + (1 - share) * narrowAlone.median
    let ratios = zip(mixed.seconds, zip(wideAlone.seconds, narrowAlone.seconds)).map {
      $0 / (share * $1.0 + (1 - share) * $1.1)
    }.sorted()
    let overhead = ratios[ratios.count / 2] - 1
    print(
      "| \(context.kernels.instructionSet.rawValue) | \(shape) | \(context.pool.threadCount) "
        + "| \(batch) | \(text(mixed.median * 1e3)) | \(text(parts * 1e3)) "
        + "| \(text(overhead * 100)) % |")
    return Record(
      metric: "segmentOverhead", value: overhead, unit: "1",
      conditions: [
        "shape": "\(shape)", "tokens": "\(batch)", "threads": "\(context.pool.threadCount)",
        "instructionSet": context.kernels.instructionSet.rawValue,
        "kernelBuild": KernelSet.build, "repeats": "\(rounds)",
        "segments":
          "\(wideRows) rows \(wide), \(narrowRows) rows \(narrow), bands of \(Self.bandHeight)",
        "weights": "cold: one after the other through \(memory.count >> 20) MiB",
      ],
      reference: [
        "mixedSeconds": mixed.median, "partsSeconds": parts, "wideSeconds": wideAlone.median,
        "narrowSeconds": narrowAlone.median,
      ])
  }

  /// Every tenth band is wide.
  private static func split(_ outputFeatures: Int) -> (wide: [Range<Int>], narrow: [Range<Int>]) {
    var result: (wide: [Range<Int>], narrow: [Range<Int>]) = ([], [])
    for (index, begin) in stride(from: 0, to: outputFeatures, by: bandHeight).enumerated() {
      let band = begin..<min(begin + bandHeight, outputFeatures)
      if index % 10 == 5 { result.wide.append(band) } else { result.narrow.append(band) }
    }
    return result
  }
}
