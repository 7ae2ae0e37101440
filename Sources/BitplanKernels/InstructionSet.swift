internal import CBitplanKernels

/// What a kernel set requires of the CPU.
public enum InstructionSet: String, CaseIterable, Hashable, Sendable, Codable {
  /// Plain C: runs everywhere and defines the results.
  case scalar
  /// AVX2 with FMA and F16C, without VNNI.
  case avx2
  /// AVX-512 (F, BW, DQ, VL) with VNNI.
  case avx512vnni
  /// AVX-512 VNNI, and the 8-bit matrix tiles of AMX for more than 8 tokens.
  case avx512amx

  /// Instruction sets that this binary contains and this CPU and operating system can run, slowest
  /// first.
  public static let supported: [InstructionSet] = allCases.filter {
    bp_isa_supported($0.identifier) != 0
  }

  /// The fastest supported one.
  public static var best: InstructionSet { supported.last ?? .scalar }

  /// The C library's number for it.
  internal var identifier: bp_isa {
    switch self {
    case .scalar: BP_ISA_SCALAR
    case .avx2: BP_ISA_AVX2
    case .avx512vnni: BP_ISA_AVX512VNNI
    case .avx512amx: BP_ISA_AVX512AMX
    }
  }
}
