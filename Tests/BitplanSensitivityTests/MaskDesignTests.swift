import BitplanCore
import BitplanSensitivity
import BitplanTestSupport
import Testing

struct MaskDesignTests {
  static func design(_ operators: Int, seed: UInt64 = 7) -> MaskDesign {
    MaskDesign(
      operatorCount: operators, formats: WeightFormat.evenSteps, seed: seed, maskSize: 4,
      partitionCount: 6, denseCount: 5)
  }

  @Test("every operator appears exactly once in every partition", arguments: [1, 4, 5, 58])
  func partitions(_ operators: Int) {
    let design = Self.design(operators)
    let masksPerPartition = (operators + 3) / 4
    #expect(design.passCount == 5 + 6 * masksPerPartition)
    for partition in 0..<6 {
      var seen = [Int](repeating: 0, count: operators)
      for part in 0..<masksPerPartition {
        let mask = design.mask(5 + partition * masksPerPartition + part)
        #expect(mask.quantizedCount <= 4)
        for (index, format) in mask.formatIndices.enumerated() where format != nil {
          seen[index] += 1
        }
      }
      #expect(seen.allSatisfy { $0 == 1 })
    }
  }

  @Test("dense masks quantize everything")
  func dense() {
    for index in 0..<5 { #expect(Self.design(58).mask(index).quantizedCount == 58) }
  }

  @Test("a pass depends on the seed and its index alone")
  func reproducible() {
    let (a, b, c) = (Self.design(58), Self.design(58), Self.design(58, seed: 8))
    #expect((0..<a.passCount).allSatisfy { a.mask($0) == b.mask($0) })
    #expect((0..<a.passCount).contains { a.mask($0) != c.mask($0) })
  }

  @Test("partitions differ in company and in bit width")
  func variety() {
    let design = Self.design(58)
    let first = (0..<15).map { design.mask(5 + $0) }
    let second = (0..<15).map { design.mask(20 + $0) }
    let company = { (masks: [Mask]) in
      Set(masks.map { mask in mask.formatIndices.indices.filter { mask.formatIndices[$0] != nil } })
    }
    #expect(company(first).intersection(company(second)).count <= 2)
    let width = { (mask: Mask) in
      Set(mask.formatIndices.compactMap { $0 }.map { WeightFormat.evenSteps[$0].bitWidth })
    }
    #expect(width(first[0]) != width(second[0]))
  }
}
