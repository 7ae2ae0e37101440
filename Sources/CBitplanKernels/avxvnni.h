#ifndef BITPLAN_AVXVNNI_H
#define BITPLAN_AVXVNNI_H

// The 256-bit vpdpbusd of the AVX-VNNI files. To be included before the target attribute is pushed.
//
// BP_AVXVNNI_AS_AVX512 takes the same instruction in the encoding of AVX-512, so that the kernels can
// be tested where there is only that (Scripts/test-arm); no other build defines it.

#if defined(BP_AVXVNNI_AS_AVX512)
#define BP_AVXVNNI_TARGET "avx2,fma,f16c,avx512f,avx512vl,avx512vnni"
#define bp256_dot _mm256_dpbusd_epi32
#else
#define BP_AVXVNNI_TARGET "avx2,fma,f16c,avxvnni"
/// sum + Σ u·a of four unsigned and four signed bytes in every lane; it does not saturate.
#define bp256_dot _mm256_dpbusd_avx_epi32
#endif

#endif
