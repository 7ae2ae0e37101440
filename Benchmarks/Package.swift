// swift-tools-version: 6.1
import PackageDescription

// A package of its own, so that users of the library do not build it.
let package = Package(
  name: "bitplan-benchmarks",
  platforms: [.macOS(.v15)],
  dependencies: [.package(name: "bitplan", path: "..")],
  targets: [
    .target(name: "CRoofline"),
    .executableTarget(
      name: "kernel-bench",
      dependencies: ["CRoofline", .product(name: "BitplanKernels", package: "bitplan")]),
    .executableTarget(
      name: "quantizer-study",
      dependencies: [
        .product(name: "BitplanPipeline", package: "bitplan"),
        .product(name: "BitplanSensitivity", package: "bitplan"),
      ]),
    .executableTarget(
      name: "sensitivity-study",
      dependencies: [
        .product(name: "BitplanPipeline", package: "bitplan"),
        .product(name: "BitplanSensitivity", package: "bitplan"),
      ]),
  ],
  swiftLanguageModes: [.v6],
  cLanguageStandard: .c11
)
