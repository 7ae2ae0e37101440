internal import CBitplanKernels

/// The CPU kernels of one instruction set.
///
/// A process selects one set at start and passes it down; there is no global "current" set. All
/// sets return the same bits for the same input, so switching sets changes speed only.
public struct KernelSet: Sendable {
  /// What these kernels require of the CPU.
  public let instructionSet: InstructionSet

  /// Identifies the kernels' arithmetic, layout and speed; part of every profile's key.
  ///
  /// To be increased by one whenever a kernel, the packed layout or the thread pool changes.
  public static let build = "9"

  /// A copy of the C library's table, which holds nothing but constants.
  internal nonisolated(unsafe) let table: bp_kernels

  /// Selects the kernels of `instructionSet`, or returns `nil` if this machine cannot run them.
  public init?(_ instructionSet: InstructionSet) {
    guard let pointer = bp_kernels_for(instructionSet.identifier) else { return nil }
    var table = pointer.pointee
    table.multiply_lookup = nil
    self.init(instructionSet, table: table)
  }

  private init(_ instructionSet: InstructionSet, table: bp_kernels) {
    self.instructionSet = instructionSet
    self.table = table
  }

  /// The same set as if it had kernels for affine and symmetric formats only, as a new instruction
  /// set has at first: the scalar ones stand in for the others.
  package var integerFormatsOnly: KernelSet {
    var table = table
    table.families = 0
    table.quantize_tokens = nil
    return KernelSet(instructionSet, table: table)
  }

  /// Whether one token is multiplied by `bcq1_g128` through lookup tables instead of masked planes.
  public var usesLookup: Bool { table.multiply_lookup != nil }

  /// The same set without ``usesLookup``.
  public var withoutLookup: KernelSet {
    var table = table
    table.multiply_lookup = nil
    return KernelSet(instructionSet, table: table)
  }

  /// The same set with ``usesLookup``, or `nil` where this CPU cannot run it. Results are the same;
  /// which is faster depends on the CPU, so a profile says (`DeviceProfile.usesLookup`).
  public var withLookup: KernelSet? {
    guard bp_lookup_supported() != 0, let pointer = bp_kernels_for(instructionSet.identifier),
      let lookup = pointer.pointee.multiply_lookup
    else { return nil }
    var table = table
    table.multiply_lookup = lookup
    return KernelSet(instructionSet, table: table)
  }

  /// The kernels of ``InstructionSet/best``.
  public static var best: KernelSet {
    guard let kernels = KernelSet(.best) ?? KernelSet(.scalar) else {
      preconditionFailure("the scalar kernels are part of every build")
    }
    return kernels
  }
}
