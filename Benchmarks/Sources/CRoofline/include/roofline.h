#ifndef BITPLAN_ROOFLINE_H
#define BITPLAN_ROOFLINE_H

#include <stddef.h>
#include <stdint.h>

// Probes of what the CPU can do at most. Each returns 0 where the CPU lacks the instruction.

/// Reads `bytes` (a multiple of 256, 64-byte aligned) and returns something that depends on all.
uint64_t bp_probe_read(const void *start, size_t bytes);
/// Runs 12 independent chains of 512-bit vpdpbusd `rounds` times; returns multiply-adds done.
uint64_t bp_probe_vnni(uint64_t rounds);
/// Runs 4 independent AMX tdpbsud chains `rounds` times; returns multiply-adds done. The process
/// must have been permitted to use tiles.
uint64_t bp_probe_amx(uint64_t rounds);
/// Runs 12 independent chains of 512-bit (or 256-bit) vfmadd `rounds` times; returns multiply-adds.
uint64_t bp_probe_float(uint64_t rounds);

#endif
