internal import CBitplanKernels

/// What a kernel set requires of the CPU.
public enum InstructionSet: String, CaseIterable, Hashable, Sendable, Codable {
  /// Plain C: runs everywhere and defines the results.
  case scalar
  /// AVX2 with FMA and F16C, without VNNI.
  case avx2
  /// AVX2 with FMA, F16C and VNNI on 256-bit registers (AVX-VNNI).
  case avxvnni
  /// AVX-512 (F, BW, DQ, VL) with VNNI.
  case avx512vnni
  /// AVX-512 VNNI, and the 8-bit matrix tiles of AMX for more than 8 tokens.
  case avx512amx
  /// 64-bit Arm with NEON's 8-bit dot products.
  case neonDotprod = "neon_dotprod"
  /// NEON's dot products, and its 8-bit matrix products for more than 4 tokens.
  case neonI8mm = "neon_i8mm"

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
    case .avxvnni: BP_ISA_AVXVNNI
    case .avx512vnni: BP_ISA_AVX512VNNI
    case .avx512amx: BP_ISA_AVX512AMX
    case .neonDotprod: BP_ISA_NEON_DOTPROD
    case .neonI8mm: BP_ISA_NEON_I8MM
    }
  }
}
