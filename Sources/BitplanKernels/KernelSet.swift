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
  public static let build = "3"

  /// The C library's table; it lives as long as the process.
  internal var table: bp_kernels { pointer.pointee }
  private nonisolated(unsafe) let pointer: UnsafePointer<bp_kernels>

  /// Selects the kernels of `instructionSet`, or returns `nil` if this machine cannot run them.
  public init?(_ instructionSet: InstructionSet) {
    guard let pointer = bp_kernels_for(instructionSet.identifier) else { return nil }
    self.instructionSet = instructionSet
    self.pointer = pointer
  }

  /// The kernels of ``InstructionSet/best``.
  public static var best: KernelSet {
    guard let kernels = KernelSet(.best) ?? KernelSet(.scalar) else {
      preconditionFailure("the scalar kernels are part of every build")
    }
    return kernels
  }
}
