#ifndef BITPLAN_KERNELS_H
#define BITPLAN_KERNELS_H
int bp_placeholder(void);
#endif
