// swift-tools-version: 6.1
import PackageDescription

// A package of its own, so that users of the library do not build it.
let package = Package(
  name: "bitplan-benchmarks",
  platforms: [.macOS(.v15)],
  dependencies: [.package(name: "bitplan", path: "..")],
  targets: [
    .target(name: "CRoofline"),
    .target(name: "StudyRecords"),
    .target(
      name: "StudySupport",
      dependencies: [.product(name: "BitplanSensitivity", package: "bitplan")]),
    .executableTarget(
      name: "kernel-bench",
      dependencies: [
        "CRoofline", "StudyRecords", .product(name: "BitplanKernels", package: "bitplan"),
      ]),
    .executableTarget(
      name: "quantizer-study",
      dependencies: [
        "StudyRecords", "StudySupport",
        .product(name: "BitplanPipeline", package: "bitplan"),
        .product(name: "BitplanSensitivity", package: "bitplan"),
      ]),
    .executableTarget(
      name: "sensitivity-study",
      dependencies: [
        "StudyRecords", "StudySupport",
        .product(name: "BitplanPipeline", package: "bitplan"),
        .product(name: "BitplanSensitivity", package: "bitplan"),
      ]),
  ],
  swiftLanguageModes: [.v6],
  cLanguageStandard: .c11
)
