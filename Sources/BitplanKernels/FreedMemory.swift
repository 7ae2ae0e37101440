internal import CBitplanKernels

/// Memory that was freed but that the allocator keeps for later.
public enum FreedMemory {
  /// Has every large block asked of the system, and given back as soon as it is freed: among small
  /// blocks it would leave holes that nothing fits. For the start of a program.
  public static func keepLargeBlocksApart() { bp_keep_large_blocks_apart() }

  /// Gives it back to the system, between stages: a table read from JSON or a text cut into tokens
  /// leaves tens of megabytes in small pieces that nothing needs again.
  public static func giveBack() { bp_give_back_freed_memory() }
}
