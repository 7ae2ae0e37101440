import BitplanEngine
import Foundation
import Testing

struct VectorMathTests {
  @Test("exp is within 2 units in the last place over its range")
  func exponential() {
    var worst = 0.0
    for step in -8720...8820 {
      let x = Float(step) / 100
      let value = VectorMath.exp(Lanes(repeating: x))[3]
      let expected = exp(Double(x))
      worst = max(worst, abs(Double(value) - expected) / Double(Float(expected).ulp))
    }
    #expect(worst <= 2)
    #expect(VectorMath.exp(Lanes(repeating: 0))[0] == 1)
    #expect(VectorMath.exp(Lanes(repeating: -1000))[0] < 1.3e-38)
    #expect(VectorMath.exp(Lanes(repeating: -.infinity))[0] < 1.3e-38)
    #expect(VectorMath.exp(Lanes(repeating: .nan))[0].isNaN)
  }

  @Test("the normal distribution function is within 2e-7")
  func normalDistribution() {
    for step in -1000...1000 {
      let x = Double(step) / 100
      let value = Double(VectorMath.normalDistribution(Lanes(repeating: Float(x)))[0])
      // The formula's bound of 1.5·10⁻⁷ on erf is halved; float rounding adds half an ulp of 1.
      #expect(abs(value - erfc(-x / 2.0.squareRoot()) / 2) < 2e-7)
    }
  }
}
