internal import CBitplanKernels

/// Memory that was freed but that the allocator keeps for later.
public enum FreedMemory {
  /// Gives it back to the system, between stages: a table read from JSON or a text cut into tokens
  /// leaves tens of megabytes in small pieces that nothing needs again.
  public static func giveBack() { bp_give_back_freed_memory() }
}
