// swift-tools-version: 6.1
import PackageDescription

// The simulated devices that come with Bitplan.
let deviceFiles = [
  "ant", "apple-m2", "bitfusion", "fp16", "int8", "mixpe-w4a16", "mixpe-w4a8", "phone-cortex-x4",
  "raspberry-pi-5", "ryzen-9-7950x", "xeon-cascade-lake-2t",
]

let package = Package(
  name: "bitplan",
  platforms: [.macOS(.v15)],
  products: [
    .executable(name: "plan", targets: ["plan"]),
    .library(name: "BitplanPipeline", targets: ["BitplanPipeline"]),
    .library(name: "BitplanKernels", targets: ["BitplanCore", "BitplanKernels"]),
    .library(name: "BitplanSearch", targets: ["BitplanCore", "BitplanSearch"]),
    .library(
      name: "BitplanSensitivity",
      targets: [
        "BitplanCore", "BitplanKernels", "BitplanCheckpoint", "BitplanEngine", "BitplanQuantizers",
        "BitplanSensitivity",
      ]),
  ],
  dependencies: [
    .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
    .package(url: "https://github.com/apple/swift-crypto", from: "4.5.2"),
  ],
  targets: [
    // Level 0: C and system libraries.
    .target(
      name: "CBitplanKernels", cSettings: [.define("NDEBUG", .when(configuration: .release))]),
    .systemLibrary(name: "CGLPK", providers: [.apt(["libglpk-dev"]), .brew(["glpk"])]),
    .systemLibrary(
      name: "CBLAS", providers: [.apt(["libopenblas-dev", "liblapacke-dev"]), .brew(["openblas"])]),

    // Level 1: the vocabulary.
    .target(name: "BitplanCore"),

    // Level 2.
    .target(name: "BitplanKernels", dependencies: ["BitplanCore", "CBitplanKernels"]),
    .target(
      name: "BitplanCheckpoint",
      dependencies: ["BitplanCore", .product(name: "Crypto", package: "swift-crypto")]),
    .target(name: "BitplanSearch", dependencies: ["BitplanCore"]),

    // Level 3.
    .target(name: "BitplanSolver", dependencies: ["BitplanCore", "BitplanSearch", "CGLPK"]),
    .target(
      name: "BitplanEngine",
      dependencies: ["BitplanCore", "BitplanKernels", "BitplanCheckpoint", "CBLAS"]),
    .target(name: "BitplanQuantizers", dependencies: ["BitplanCore", "BitplanKernels", "CBLAS"]),
    .target(
      name: "BitplanDevices", dependencies: ["BitplanCore", "BitplanKernels"],
      // Part of the program, so that they are found wherever it runs.
      resources: deviceFiles.map { .embedInCode("Simulated/Devices/\($0).json") }),

    // Level 4.
    .target(
      name: "BitplanSensitivity",
      dependencies: ["BitplanCore", "BitplanCheckpoint", "BitplanEngine", "BitplanQuantizers"]),
    .target(
      name: "BitplanPipeline",
      dependencies: [
        "BitplanCore", "BitplanKernels", "BitplanCheckpoint", "BitplanSearch", "BitplanSolver",
        "BitplanEngine", "BitplanQuantizers", "BitplanDevices", "BitplanSensitivity",
      ]),

    // Level 6: the command line.
    .executableTarget(
      name: "plan",
      dependencies: [
        "BitplanCore", "BitplanPipeline",
        .product(name: "ArgumentParser", package: "swift-argument-parser"),
      ]),

    // Tests.
    .target(name: "BitplanTestSupport", dependencies: ["BitplanCore", "BitplanCheckpoint"]),
    .testTarget(
      name: "BitplanCoreTests",
      dependencies: ["BitplanCore", "BitplanDevices", "BitplanTestSupport"]),
    .testTarget(
      name: "BitplanKernelsTests",
      dependencies: ["BitplanCore", "BitplanKernels", "BitplanTestSupport"]),
    .testTarget(
      name: "BitplanCheckpointTests",
      dependencies: ["BitplanCore", "BitplanCheckpoint", "BitplanTestSupport"]),
    .testTarget(
      name: "BitplanSearchTests",
      dependencies: ["BitplanCore", "BitplanSearch", "BitplanTestSupport"]),
    .testTarget(
      name: "BitplanSolverTests",
      dependencies: ["BitplanCore", "BitplanSearch", "BitplanSolver", "BitplanTestSupport"]),
    .testTarget(
      name: "BitplanEngineTests",
      dependencies: [
        "BitplanCore", "BitplanKernels", "BitplanCheckpoint", "BitplanEngine", "BitplanQuantizers",
        "BitplanTestSupport",
      ]),
    .testTarget(
      name: "BitplanQuantizersTests",
      dependencies: [
        "BitplanCore", "BitplanCheckpoint", "BitplanKernels", "BitplanQuantizers",
        "BitplanTestSupport",
      ]),
    .testTarget(
      name: "BitplanDevicesTests",
      dependencies: ["BitplanCore", "BitplanKernels", "BitplanDevices", "BitplanTestSupport"]),
    .testTarget(
      name: "BitplanSensitivityTests",
      dependencies: [
        "BitplanCore", "BitplanCheckpoint", "BitplanEngine", "BitplanKernels", "BitplanQuantizers",
        "BitplanSensitivity", "BitplanTestSupport",
      ]),
    .testTarget(
      name: "BitplanPipelineTests",
      dependencies: [
        "BitplanCore", "BitplanKernels", "BitplanCheckpoint", "BitplanSearch", "BitplanSolver",
        "BitplanEngine", "BitplanQuantizers", "BitplanDevices", "BitplanSensitivity",
        "BitplanPipeline", "BitplanTestSupport",
      ]),
    .testTarget(
      name: "PlanCommandTests", dependencies: ["plan", "BitplanCore", "BitplanTestSupport"]),
  ],
  swiftLanguageModes: [.v6],
  cLanguageStandard: .c11
)

// One loop, so that no target can quietly be less strict than the others.
for target in package.targets where target.type != .system {
  var settings = target.swiftSettings ?? []
  settings += [
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .enableUpcomingFeature("MemberImportVisibility"),
  ]
  target.swiftSettings = settings
}
