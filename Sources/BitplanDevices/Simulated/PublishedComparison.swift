/// The comparison of six designs on four networks that the MixPE paper publishes: as published, and
/// by the corrected model.
public struct PublishedComparison: Sendable {
  /// How times and energies are found.
  public enum Mode: String, Hashable, Sendable, Codable, CaseIterable {
    /// The published program's model and its layer lists.
    case asPublished
    /// ``SystolicModel`` on the networks' own layers.
    case corrected
  }

  /// One of the paper's accelerators.
  public enum Design: String, Hashable, Sendable, CaseIterable {
    // The order of the published table.
    case mixPEW4A8 = "MixPE-W4A8"
    case ant = "ANT"
    case bitFusion = "BitFusion"
    case int8 = "INT8"
    case mixPEW4A16 = "MixPE-W4A16"
    case fp16 = "FP16"

    /// Name of the device file.
    public var deviceName: String {
      switch self {
      case .mixPEW4A8: "mixpe-w4a8"
      case .ant: "ant"
      case .bitFusion: "bitfusion"
      case .int8: "int8"
      case .mixPEW4A16: "mixpe-w4a16"
      case .fp16: "fp16"
      }
    }
  }

  /// One of the paper's networks: `layers` × (QKV, output projection, two feed-forward layers).
  public enum Network: String, Hashable, Sendable, CaseIterable {
    // The paper models Llama as OPT-like: a feed-forward of 4 × width and no gate.
    case vit = "ViT"
    case vitHuge = "ViT-Huge"
    case opt = "OPT-6.7B"
    case llama = "Llama2-13B"

    /// Layers, and width of the residual stream.
    public var size: (layers: Int, width: Int) {
      switch self {
      case .vit: (12, 768)
      case .vitHuge: (32, 1280)
      case .opt: (32, 4096)
      case .llama: (40, 5120)
      }
    }

    /// Whether a 16 × 16 convolution of 224 × 224 images comes first.
    public var hasPatches: Bool { self == .vit || self == .vitHuge }
  }

  /// Tokens (images for the convolution) at once, in all networks.
  public static let batch = 64

  /// Time and energy of one design on one network.
  public struct Entry: Hashable, Sendable {
    /// The design.
    public let design: Design
    /// The network.
    public let network: Network
    /// Cycles of one pass.
    public let cycles: Int
    /// Where the energy of one pass went.
    public let energy: SystolicModel.Energy
    /// Cycles ÷ those of FP16 on the same network.
    public let relativeTime: Double
    /// Energies ÷ the whole energy of FP16 on the same network.
    public let relativeEnergy: SystolicModel.Energy
  }

  /// How the entries were found.
  public let mode: Mode
  /// Networks in the paper's order, designs in the table's order.
  public let entries: [Entry]

  /// Runs all designs on all networks.
  ///
  /// - Parameter devices: devices by name; each design's must be there, with published rules.
  /// - Throws: ``SimulatedDeviceError`` where one is not.
  public init(_ mode: Mode, devices: [String: SimulatedDevice]) throws(SimulatedDeviceError) {
    var entries: [Entry] = []
    for network in Network.allCases {
      var found: [(Design, Int, SystolicModel.Energy)] = []
      for design in Design.allCases {
        guard let array = devices[design.deviceName]?.systolicArray,
          let published = PublishedModel(array, batch: Self.batch)
        else {
          throw SimulatedDeviceError(
            design.deviceName, "has no systolic array with published precision rules")
        }
        switch mode {
        case .asPublished:
          let result = published.result(PublishedWorkload.publishedLayers(design, network))
          found.append((design, result.cycles, result.energy))
        case .corrected:
          var (cycles, energy) = (0, SystolicModel.Energy())
          for (product, count) in PublishedWorkload.products(design, network) {
            let result = SystolicModel(array).result(product)
            cycles += result.cycles * count
            for _ in 0..<count { energy += result.energy }
          }
          found.append((design, cycles, energy))
        }
      }
      guard let reference = found.first(where: { $0.0 == .fp16 }) else { continue }
      entries += found.map { design, cycles, energy in
        Entry(
          design: design, network: network, cycles: cycles, energy: energy,
          relativeTime: Double(cycles) / Double(reference.1),
          relativeEnergy: energy.divided(by: reference.2.joules))
      }
    }
    self.mode = mode
    self.entries = entries
  }

  /// The entry of one design on one network.
  public subscript(_ design: Design, _ network: Network) -> Entry? {
    entries.first { $0.design == design && $0.network == network }
  }

  /// Mean over the networks of how many times faster, and thriftier, one design is than another.
  public func gain(
    of design: Design, over other: Design
  ) -> (time: Double, energy: Double) {
    var (time, energy) = (0.0, 0.0)
    for network in Network.allCases {
      guard let a = self[design, network], let b = self[other, network] else { continue }
      time += Double(b.cycles) / Double(a.cycles)
      energy += b.energy.joules / a.energy.joules
    }
    let count = Double(Network.allCases.count)
    return (time / count, energy / count)
  }
}

extension SystolicModel.Energy {
  /// Every part ÷ `joules`.
  func divided(by joules: Double) -> Self {
    var result = self
    result.staticJoules /= joules
    result.memoryJoules /= joules
    result.bufferJoules /= joules
    result.coreJoules /= joules
    return result
  }
}

/// The layers of the paper's networks.
enum PublishedWorkload {
  /// (output features, input features) of one transformer layer.
  private static func shapes(_ width: Int) -> [(outputs: Int, inputs: Int)] {
    [(3 * width, width), (width, width), (4 * width, width), (width, 4 * width)]
  }

  /// Bits of a layer's products, and how many layers have them. `index` 1 is the output projection.
  private static func bits(
    _ design: PublishedComparison.Design, index: Int, layers: Int
  ) -> [(bits: Int, count: Int)] {
    switch design {
    case .mixPEW4A8: [(4, layers)]
    case .mixPEW4A16: [(8, layers)]
    case .int8: [(8, layers)]
    case .fp16: [(16, layers)]
    case .bitFusion: index == 1 ? [(4, layers / 2), (8, layers - layers / 2)] : [(8, layers)]
    case .ant: [(4, layers - layers / 5), (8, layers / 5)]
    }
  }

  /// Bits of everything that is not such a product.
  private static func fullBits(_ design: PublishedComparison.Design) -> Int {
    design == .mixPEW4A16 || design == .fp16 ? 16 : 8
  }

  /// The published lists: with layers that stand for dequantization. They were generated for 8
  /// tokens, which is why their sizes are divided by 8 although 64 are run.
  static func publishedLayers(
    _ design: PublishedComparison.Design, _ network: PublishedComparison.Network
  ) -> [(PublishedModel.Layer, Int)] {
    let (count, width) = network.size
    var layers: [(PublishedModel.Layer, Int)] = []
    func add(_ layer: PublishedModel.Layer, _ count: Int) {
      if let known = layers.firstIndex(where: { $0.0 == layer }) {
        layers[known].1 += count
      } else {
        layers.append((layer, count))
      }
    }
    let isMixPE = design == .mixPEW4A8 || design == .mixPEW4A16
    for (index, shape) in shapes(width).enumerated() {
      for (bits, count) in bits(design, index: index, layers: count) {
        add(.init(shape.outputs, shape.inputs, bits: bits), count)
      }
      let dequantization =
        isMixPE
        ? (outputs: shape.outputs / 128, inputs: shape.inputs / 8)
        : (outputs: shape.outputs / 8, inputs: shape.inputs)
      add(.init(dequantization.outputs, dequantization.inputs, bits: fullBits(design)), count)
    }
    if network.hasPatches {
      var convolution = PublishedModel.Layer(width, 3, bits: fullBits(design))
      convolution.kernel = 16
      convolution.outputSide = 14
      add(convolution, 1)
    }
    return layers
  }

  /// The networks' own layers, with scales for groups of 128 weights except in FP16.
  ///
  /// What is 4 bits wide keeps the activations that its design is for: 8 bits in MixPE-W4A8, 16 in
  /// MixPE-W4A16, 4 in ANT and BitFusion.
  static func products(
    _ design: PublishedComparison.Design, _ network: PublishedComparison.Network
  ) -> [(SystolicProduct, Int)] {
    let (layers, width) = network.size
    var products: [(SystolicProduct, Int)] = []
    for (index, shape) in shapes(width).enumerated() {
      for (bits, count) in bits(design, index: index, layers: layers) {
        let (weights, activations) =
          switch design {
          case .mixPEW4A8: (4, 8)
          case .mixPEW4A16: (4, 16)
          default: (bits, bits)
          }
        products.append(
          (
            SystolicProduct(
              outputFeatures: shape.outputs, inputFeatures: shape.inputs,
              tokens: PublishedComparison.batch, weightBits: weights, activationBits: activations,
              groupSize: design == .fp16 ? shape.inputs : 128,
              scaleBits: design == .fp16 ? 0 : 16), count
          ))
      }
    }
    if network.hasPatches {
      let bits = fullBits(design)
      products.append(
        (
          SystolicProduct(
            outputFeatures: width, inputFeatures: 3 * 16 * 16,
            tokens: PublishedComparison.batch * 14 * 14, weightBits: bits, activationBits: bits,
            groupSize: bits == 16 ? 3 * 16 * 16 : 128, scaleBits: bits == 16 ? 0 : 16), 1
        ))
    }
    return products
  }
}
